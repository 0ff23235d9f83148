//! Packing a clone and dropping what nothing points at, while nobody uses it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use super::disk;
use super::error::{GitError, last_lines};
use super::leash::Leash;
use super::leftovers::drop_halves;
use super::locks::Alone;
use super::program::Call;
use super::repository::Repository;
use super::{stale, tamper};
use crate::failpoint::{self, Edge};

/// All of it. What is cut off leaves the clone as good as before, only larger; ten minutes pack a clone of several GB.
const DEADLINE: Duration = Duration::from_secs(10 * 60);
/// After a failure, and after a run for little gain: reading everything once an hour would be a burden.
const REST: Duration = Duration::from_secs(24 * 60 * 60);
/// Packs after which a clone is packed: git's own number is 50, and every fetch of ours may bring one.
const PACKS_MIN: usize = 25;
/// Loose objects in one of 256 directories after which a clone is packed: about 2,500 in all; git packs at 6,700.
const LOOSE_MIN: usize = 10;
/// Objects that nothing points at stay this long, as with `git gc`: a commit is made before its ref is, and a worktree
/// whose registration an agent has broken points at nothing.
const UNREACHABLE_KEPT: &str = "2.weeks.ago";
/// A writer of half an object or pack that has not touched it for so long is dead: fetches are bounded to less.
const HALF_OLD_MS: i64 = 3_600_000;
/// One thread and a window of 64 MB: agents need the machine more. Refs are synced as objects are by every run: here one
/// file takes the place of many.
const CONFIG: &[(&str, &str)] = &[
    ("core.fsync", "committed,reference"),
    ("pack.threads", "1"),
    ("pack.windowMemory", "64m"),
    ("repack.writeBitmaps", "false"),
    ("repack.cruftPacks", "false"),
];
const STEP: &str = "pack the clone";

/// What there is to gain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// As far as one sees.
    Seen,
    /// Refs were removed: at most once a day that is reason enough.
    Refs,
    /// Every byte is needed.
    Room,
}

/// What maintenance came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintained {
    /// The clone was packed, or would be; so many bytes less are used than before.
    Packed { bytes_less: u64 },
    /// There is too little to gain.
    NotNeeded,
    /// Somebody uses the clone, or wanted it meanwhile.
    Busy,
}

impl Repository {
    /// Packs refs and objects and drops objects that nothing has pointed at for two weeks, unless somebody uses the clone
    /// or `may_begin`, asked once the clone is had alone, says no. Whoever comes meanwhile ends it at once. A `dry_run`
    /// only tells.
    ///
    /// # Errors
    /// [`GitError::Program`], [`GitError::Tampered`], [`GitError::Deadline`]; the clone is then left alone for a day.
    pub async fn maintain(
        &self,
        gain: Gain,
        dry_run: bool,
        may_begin: impl Future<Output = bool>,
    ) -> Result<Maintained, GitError> {
        let Some(alone) = self.lock.alone() else { return Ok(Maintained::Busy) };
        if !may_begin.await {
            return Ok(Maintained::Busy);
        }
        let is_due = self.is_due().await?;
        let is_worth_it = match gain {
            Gain::Seen => is_due && !self.lock.rests(),
            Gain::Refs => !self.lock.rests(),
            Gain::Room => true,
        };
        if !is_worth_it {
            return Ok(Maintained::NotNeeded);
        }
        if dry_run {
            return Ok(Maintained::Packed { bytes_less: 0 });
        }
        let Some(before) = alone.unless_wanted(self.disk_usage()).await else { return Ok(Maintained::Busy) };
        // kept until what a cut-off run leaves is gone: else the next server finds out by it
        let mut leash = self.git.leash(&self.path)?;
        let packed = failpoint::around(Edge::PackClone, self.pack(&alone, &mut leash)).await;
        if !matches!(packed, Ok(Some(()))) {
            // nobody else uses the clone: a lock is that of the program that was ended
            let cut = |clone: PathBuf| drop_halves(&clone, None).and_then(|_| stale::remove_all(&clone));
            self.blocking(move |clone| cut(clone).map_err(GitError::io("remove half packs and locks")))
                .await?;
        }
        let rests = match &packed {
            Ok(None) => false,
            // what stays due is loose because nothing points at it yet
            Ok(Some(())) => !is_due || self.is_due().await?,
            Err(_) => true,
        };
        if rests {
            self.lock.rest_until(Instant::now() + REST);
        }
        if packed?.is_none() {
            return Ok(Maintained::Busy);
        }
        let after = alone.unless_wanted(self.disk_usage()).await.transpose()?;
        let before = before?;
        Ok(Maintained::Packed { bytes_less: before.saturating_sub(after.unwrap_or(before)) })
    }

    async fn is_due(&self) -> Result<bool, GitError> {
        self.blocking(|clone| Ok(is_due(&clone))).await
    }

    /// `None`: somebody wants the clone, and no program runs in it any more.
    async fn pack(&self, alone: &Alone, leash: &mut Leash) -> Result<Option<()>, GitError> {
        let ends_at = Instant::now() + DEADLINE;
        let old = self.git.now_ms() - HALF_OLD_MS;
        self.blocking(move |clone| {
            tamper::verify(&clone)?;
            drop_halves(&clone, Some(old)).map_err(GitError::io("remove half packs"))
        })
        .await?;
        let unreachable = format!("--unpack-unreachable={UNREACHABLE_KEPT}");
        let expire = format!("--expire={UNREACHABLE_KEPT}");
        let steps: [&[&str]; 3] = [
            &["pack-refs", "--all"],
            &["repack", "-A", "-d", "-l", "-q", "-n", &unreachable],
            &["prune", &expire],
        ];
        for args in steps {
            if self.step(args, ends_at, alone, leash).await?.is_none() {
                return Ok(None);
            }
        }
        self.blocking(|clone| disk::sync_file_system(&clone).map_err(GitError::io("make the pack durable")))
            .await?;
        Ok(Some(()))
    }

    async fn step(
        &self,
        args: &[&str],
        ends_at: Instant,
        alone: &Alone,
        leash: &mut Leash,
    ) -> Result<Option<()>, GitError> {
        let call = Call {
            step: STEP,
            git_dir: Some(&self.path),
            work_tree: None,
            args: args.iter().map(OsString::from).collect(),
            config: CONFIG
                .iter()
                .map(|(key, value)| ((*key).to_owned(), SecretString::from(*value)))
                .collect(),
            deadline: ends_at.saturating_duration_since(Instant::now()),
        };
        match self.git.run_unless(call, leash, alone.is_wanted()).await {
            Ok(Some(output)) if output.success => Ok(Some(())),
            Ok(Some(output)) => Err(GitError::Program { step: STEP, text: last_lines(&output.stderr) }),
            Ok(None) => Ok(None),
            Err(GitError::Deadline { step, .. }) => {
                Err(GitError::Deadline { step, seconds: DEADLINE.as_secs() })
            }
            Err(error) => Err(error),
        }
    }
}

/// Cheap: two directories are listed. Object names are evenly spread, so one of theirs tells of all.
fn is_due(clone: &Path) -> bool {
    let count = |name: &str, wanted: &str| {
        let entries = fs::read_dir(clone.join(name)).into_iter().flatten().filter_map(Result::ok);
        entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(wanted)).count()
    };
    count("objects/pack", ".pack") >= PACKS_MIN || count("objects/17", "") >= LOOSE_MIN
}
