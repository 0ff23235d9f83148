//! Whether what is needed of a clone can be read, and a way for a clone that cannot: set aside, and made anew.
//!
//! Nothing is ever taken from a damaged clone but objects whose hash is right, read by libgit2, and no program runs in it.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::{ObjectType, Odb, Oid, Repository as Library};
use tokio::time::Instant;

use super::commit_id::CommitId;
use super::error::{GitError, is_disk_full};
use super::fetch::REMOTE_REFS;
use super::local_work::stashed;
use super::repository::Repository;
use super::stage::shown;
use super::{disk, lfs, ref_files, refs, tamper};
use crate::failpoint::{self, Edge};

/// Between the clone's own name and a unique end.
const ASIDE: &str = ".damaged";
/// A file in it: what could not be carried over, line by line. Without it nobody has carried over yet.
const CARRIED: &str = "offshoot-carried";
/// Of one look through a clone, at some 50,000 objects a second. What is not found by then is not taken for damage.
const LOOK_MAX: Duration = Duration::from_secs(10 * 60);
/// A clone that is damaged again so soon: the remote lacks objects, or the disk is dying. Each copy would fill it up more.
const AGAIN_MS: i64 = 24 * 3_600_000;
/// Damaged refs that are named one by one.
const NAMED_MAX: usize = 100;

/// A clone that was set aside. Never removed by itself: it may hold what nobody else has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it lies, beside the clone.
    pub path: PathBuf,
    /// Refs whose objects are not whole, and large files whose content is nowhere; `None`: not looked at yet.
    pub lost: Option<Vec<String>>,
}

impl Repository {
    /// What is damaged of what work needs: the administration, the refs, every object of the remote's branches. `None` if
    /// nothing is.
    ///
    /// # Errors
    /// [`GitError::Tampered`]: that comes first. [`GitError::Abandoned`].
    pub async fn find_damage(&self) -> Result<Option<String>, GitError> {
        let ends_at = Instant::now() + LOOK_MAX;
        self.blocking(move |clone| match tamper::verify(&clone) {
            Err(GitError::Damaged { what }) => Ok(Some(what)),
            Err(error) => Err(error),
            Ok(()) => look_through(&clone, ends_at),
        })
        .await
    }

    /// Renames a damaged clone aside. `None`: somebody else uses it, or `may_begin`, asked once it is had alone, says no. The
    /// caller must not use it.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn set_aside(
        &self,
        may_begin: impl Future<Output = bool>,
    ) -> Result<Option<SetAside>, GitError> {
        let Some(alone) = self.lock.alone() else { return Ok(None) };
        if !may_begin.await {
            return Ok(None);
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = self.path.with_file_name(self.git.unique(&format!("{name}{ASIDE}")));
        let to = path.clone();
        let renamed = self.blocking(move |clone| {
            let _alone = alone;
            fs::rename(&clone, &to)
                .and_then(|()| disk::sync_parent(&to))
                .map_err(GitError::io("set the clone aside"))
        });
        failpoint::around(Edge::SetCloneAside, renamed).await?;
        Ok(Some(SetAside { path, lost: None }))
    }

    /// The clones of this repository that were set aside.
    ///
    /// # Errors
    /// [`GitError::Abandoned`].
    pub async fn set_aside_clones(&self) -> Result<Vec<SetAside>, GitError> {
        self.blocking(|clone| {
            let name = clone.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let stem = format!("{name}{ASIDE}");
            let entries =
                clone.parent().and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten().flatten();
            // the clone of another repository may begin with that, but not end as these do
            let mine = entries.map(|entry| entry.path()).filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(&stem) && !name.ends_with(".git")
            });
            let lost = |path: &Path| {
                let text = fs::read_to_string(path.join(CARRIED)).ok()?;
                Some(text.lines().map(str::to_owned).collect())
            };
            let mut found: Vec<_> = mine.map(|path| SetAside { lost: lost(&path), path }).collect();
            found.sort_by(|a, b| a.path.cmp(&b.path));
            Ok(found)
        })
        .await
    }

    /// Whether that has happened within the last day: a second time it would not help.
    ///
    /// # Errors
    /// [`GitError::Abandoned`].
    pub async fn was_set_aside_lately(&self) -> Result<bool, GitError> {
        let since = self.git.now_ms() - AGAIN_MS;
        let found = self.set_aside_clones().await?;
        self.blocking(move |_| {
            let is_young = |aside: &SetAside| {
                aside.path.symlink_metadata().is_ok_and(|meta| meta.ctime().saturating_mul(1_000) > since)
            };
            Ok(found.iter().any(is_young))
        })
        .await
    }

    /// Brings what is whole of a clone that was set aside into the one that has taken its place: every ref but
    /// the remote's, older stashes and detached heads with their objects, large files, registrations of worktrees. What is there already stays. Repeatable.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::Io`], [`GitError::Library`].
    pub async fn carry_over(&self, aside: &SetAside) -> Result<SetAside, GitError> {
        let _held = self.lock.administer().await;
        let (from, git) = (aside.path.clone(), self.git.clone());
        let carried = self.verified(move |clone| carry(&from, &clone, || git.scratch_path()));
        let lost = failpoint::around(Edge::CarryOver, carried).await?;
        Ok(SetAside { path: aside.path.clone(), lost: Some(lost) })
    }
}

fn look_through(clone: &Path, ends_at: Instant) -> Result<Option<String>, GitError> {
    let (found, unreadable) = ref_files::read(clone, REMOTE_REFS, &[]);
    if unreadable > 0 {
        return Ok(Some(format!("{unreadable} refs")));
    }
    let Ok(library) = refs::open(clone) else { return Ok(Some("the repository".to_owned())) };
    let mut walk = Walk {
        from: vec![&library],
        into: None,
        known: HashSet::new(),
        seen: HashSet::new(),
        ends_at: Some(ends_at),
    };
    for (name, tip) in &found {
        if let Some(oid) = walk.follow(*tip)? {
            return Ok(Some(format!("object {oid}, which {name} leads to")));
        }
    }
    Ok(None)
}

fn carry(from: &Path, to: &Path, scratch: impl Fn() -> PathBuf) -> Result<Vec<String>, GitError> {
    let failed = GitError::io("carry over");
    // it only lends its objects; what could lead elsewhere goes, and libgit2 can open it
    tamper::repair(from).map_err(&failed)?;
    let (old, new) = (refs::open(from)?, refs::open(to)?);
    let into = new.odb().map_err(GitError::library("open the objects"))?;
    let known = published(&new)?;
    // what the old one has lost of the remote's objects, the new one has
    let mut walk =
        Walk { from: vec![&old, &new], into: Some(into), known, seen: HashSet::new(), ends_at: None };
    let (mut lost, mut whole) = (Vec::new(), Vec::new());
    let (mut found, unreadable) = ref_files::read(from, "refs", &[REMOTE_REFS]);
    found.extend(stashed(from, &old));
    if unreadable > 0 {
        lost.push(format!("{unreadable} unreadable refs"));
    }
    for (name, tip) in found {
        let broken = walk.follow(tip)?;
        whole.extend(broken.is_none().then_some(tip));
        match broken {
            None if refs::find(&new, &name)?.is_some() => {}
            None => match refs::set(&new, &name, tip) {
                Err(error) if error.is_disk_full() => return Err(error),
                // a later branch may be in its way
                Err(_) => lost.push(name),
                Ok(()) => {}
            },
            Some(_) => lost.push(name),
        }
    }
    whole.extend(carry_registrations(from, to, &mut walk, &mut lost)?);
    // what a dying disk does not give is named below
    lfs::lend_all(from, to, |error| !is_disk_full(error)).map_err(&failed)?;
    for path in lfs::without_content(&new, to, scratch, &whole)? {
        lost.push(format!("the content of {}", shown(&path)));
    }
    disk::sync_file_system(to).map_err(&failed)?;
    let more = lost.len().saturating_sub(NAMED_MAX);
    lost.truncate(NAMED_MAX);
    lost.extend((more > 0).then(|| format!("{more} more")));
    let text: String = lost.iter().map(|name| format!("{name}\n")).collect();
    disk::replace_file(&from.join(CARRIED), text.as_bytes()).map_err(&failed)?;
    Ok(lost)
}

/// The commits of the remote's branches: whole, with everything below them.
fn published(library: &Library) -> Result<HashSet<Oid>, GitError> {
    let failed = GitError::library("list the remote's commits");
    let mut walk = library.revwalk().map_err(&failed)?;
    walk.push_glob("refs/remotes/*").map_err(&failed)?;
    walk.collect::<Result<_, _>>().map_err(&failed)
}

/// HEAD, index and branch of each worktree, not the record of which files cannot have changed: the objects that it speaks of
/// may be lost, and without it every file is read. What cannot be read is left out: the worktree's files are there without it.
/// Gives the commits of detached heads that are whole.
fn carry_registrations(
    from: &Path,
    to: &Path,
    walk: &mut Walk<'_>,
    lost: &mut Vec<String>,
) -> Result<Vec<Oid>, GitError> {
    let failed = GitError::io("carry over a worktree");
    let mut whole = Vec::new();
    for entry in fs::read_dir(from.join("worktrees")).into_iter().flatten().flatten() {
        let (old, id) = (entry.path(), entry.file_name());
        let (admin, record) = (to.join("worktrees").join(&id), to.join("offshoot").join(&id));
        if !disk::is_real_dir(&old) || admin.symlink_metadata().is_ok() {
            continue;
        }
        fs::create_dir_all(&admin).map_err(&failed)?;
        for name in ["HEAD", "commondir", "gitdir", "index"] {
            if !old.join(name).symlink_metadata().is_ok_and(|meta| meta.is_file()) {
                continue;
            }
            let Ok(bytes) = fs::read(old.join(name)) else { continue };
            fs::write(admin.join(name), bytes).map_err(&failed)?;
        }
        if let Some(commit) = detached_at(&admin) {
            match walk.follow(commit)? {
                Some(_) => lost.push(format!("worktrees/{}/HEAD", id.to_string_lossy())),
                None => whole.push(commit),
            }
        }
        let branch = disk::read_small(&from.join("offshoot").join(&id).join("branch"));
        if let Ok(Some(branch)) = branch {
            fs::create_dir_all(&record).map_err(&failed)?;
            disk::replace_file(&record.join("branch"), &branch).map_err(&failed)?;
        }
    }
    Ok(whole)
}

/// The commit that no branch may know.
fn detached_at(admin: &Path) -> Option<Oid> {
    let text = String::from_utf8(disk::read_small(&admin.join("HEAD")).ok()??).ok()?;
    text.trim_end().parse::<CommitId>().ok()?.oid().ok()
}

/// Reads everything below some commits, each object once. libgit2 compares what it reads with its name.
struct Walk<'a> {
    /// Each object is taken from the first that has it.
    from: Vec<&'a Library>,
    /// Where what is missing is written.
    into: Option<Odb<'a>>,
    /// Commits that need no look.
    known: HashSet<Oid>,
    seen: HashSet<Oid>,
    ends_at: Option<Instant>,
}

impl Walk<'_> {
    /// The first object that cannot be read, if there is one.
    fn follow(&mut self, tip: Oid) -> Result<Option<Oid>, GitError> {
        let mut open = vec![tip];
        let mut fresh = Vec::new();
        while let Some(oid) = open.pop() {
            if self.ends_at.is_some_and(|ends_at| Instant::now() >= ends_at) {
                return Ok(None);
            }
            if self.known.contains(&oid) || !self.seen.insert(oid) {
                continue;
            }
            fresh.push(oid);
            if !self.visit(oid, &mut open)? {
                // another ref that leads here is damaged too
                for oid in &fresh {
                    self.seen.remove(oid);
                }
                return Ok(Some(oid));
            }
        }
        Ok(None)
    }

    /// False: nobody has it.
    fn visit(&self, oid: Oid, open: &mut Vec<Oid>) -> Result<bool, GitError> {
        for library in &self.from {
            let Ok(odb) = library.odb() else { continue };
            let Ok(object) = odb.read(oid) else { continue };
            let Ok(below) = below(library, oid, object.kind()) else { continue };
            open.extend(below);
            if let Some(into) = self.into.as_ref().filter(|into| !into.exists(oid)) {
                into.write(object.kind(), object.data()).map_err(GitError::library("copy an object"))?;
            }
            return Ok(true);
        }
        Ok(false)
    }
}

fn below(library: &Library, oid: Oid, kind: ObjectType) -> Result<Vec<Oid>, git2::Error> {
    Ok(match kind {
        ObjectType::Commit => {
            let commit = library.find_commit(oid)?;
            commit.parent_ids().chain([commit.tree_id()]).collect()
        }
        // a submodule's commit is elsewhere
        ObjectType::Tree => library
            .find_tree(oid)?
            .iter()
            .filter(|entry| entry.kind() != Some(ObjectType::Commit))
            .map(|entry| entry.id())
            .collect(),
        ObjectType::Tag => vec![library.find_tag(oid)?.target_id()],
        _ => Vec::new(),
    })
}
