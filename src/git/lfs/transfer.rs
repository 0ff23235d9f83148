//! Objects from the remote and to it: the one place where the git-lfs program is started.
//!
//! It runs in a repository that is made for the transfer: our configuration, nothing checked out, no object but pointers. So it
//! finds no `.lfsconfig`, and no setting beside those that are passed to it; where the objects are follows from the address
//! that is passed to git as well. What it brings is checked and taken over; what it takes away was checked before.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use git2::Repository as Library;
use secrecy::SecretString;

use super::answer::Trouble;
use super::place::TransferPlace;
use super::pointer::Pointer;
use super::store::{Ingest, lend, open_object};
use super::{FILE_BYTES_MAX, find};
use crate::failpoint::{self, Edge};
use crate::git::commit_id::CommitId;
use crate::git::error::{GitError, RemoteFailure, last_lines};
use crate::git::program::Call;
use crate::git::push::PushOutcome;
use crate::git::refs;
use crate::git::remote::Remote;
use crate::git::repository::{Repository, blocking};
use crate::git::stage::shown;

/// The ref of a transfer's repository that says what is wanted.
pub(super) const WANTED: &str = "refs/heads/wanted";
/// Objects that are named in one call: 65 bytes each, and an argument list takes 128 KiB at least everywhere.
const NAMED_MAX: usize = 500;
/// Objects of one commit that are fetched; a repository with more keeps pointers for the rest.
const FETCHED_MAX: usize = 100_000;

/// What the program is told beside the network settings. It tries each object anew this often; more is the server's business.
const CONFIG: &[(&str, &str)] = &[
    ("lfs.transfer.maxretries", "3"),
    ("lfs.transfer.maxretrydelay", "2"),
    ("lfs.locksverify", "false"),
    ("lfs.skipdownloaderrors", "false"),
    ("lfs.fetchrecentalways", "false"),
    ("lfs.setlockablereadonly", "false"),
];

type Wanted = BTreeMap<Pointer, Vec<u8>>;

impl Repository {
    /// Brings the objects of the large files of `commit` into the clone, as far as they are not there; gives what somebody who
    /// works with the files should know. Nothing is asked of the remote where nothing is missing; `begins` is done before it is, for
    /// it may take an hour, and where that fails nothing is asked either.
    ///
    /// # Errors
    /// [`GitError::Remote`] for a remote that is not reachable or refuses the credentials, [`GitError::CommitMissing`],
    /// [`GitError::Tampered`], [`GitError::Deadline`], [`GitError::Io`].
    pub async fn fetch_large_files<E: From<GitError>>(
        &self,
        remote: &Remote,
        commit: &CommitId,
        begins: impl Future<Output = Result<(), E>>,
    ) -> Result<Vec<String>, E> {
        let _used = self.enter().await;
        let (oid, scratch, missing) = (commit.oid()?, self.git.scratch_path(), commit.clone());
        let (wanted, too_large, too_many) = self
            .verified(move |clone| {
                let library = refs::open(&clone)?;
                let commit = library.find_commit(oid).map_err(|_| GitError::CommitMissing(missing))?;
                let files = find::in_tree(&library, &clone, scratch, commit.tree_id())?;
                let (mut wanted, mut too_large, mut too_many) = (Wanted::new(), Wanted::new(), 0);
                for file in files {
                    if file.pointer.size() > FILE_BYTES_MAX {
                        too_large.insert(file.pointer, file.path);
                    } else if wanted.len() < FETCHED_MAX || wanted.contains_key(&file.pointer) {
                        wanted.insert(file.pointer, file.path);
                    } else {
                        too_many += 1;
                    }
                }
                Ok((without_present(&clone, wanted)?, too_large, too_many))
            })
            .await?;
        let mut said = Vec::new();
        if !too_large.is_empty() {
            said.push(format!("large files of more than 5 GiB stay pointers: {}", named(&too_large)));
        }
        if too_many > 0 {
            said.push(format!(
                "{too_many} files stay pointers: the commit has more than {FETCHED_MAX} large files"
            ));
        }
        if wanted.is_empty() {
            return Ok(said);
        }
        if let Some(lack) = self.git.lfs_lack().await? {
            said.push(format!(
                "{} stay pointers: the repository keeps them with git-lfs, {lack}",
                named(&wanted)
            ));
            return Ok(said);
        }
        begins.await?;
        let (missing, trouble) = self.fetch_wanted(remote, wanted).await?;
        if missing.is_empty() {
            return Ok(said);
        }
        match trouble {
            Some(Trouble::Unavailable(text)) => {
                Err(GitError::from(RemoteFailure::Unavailable { text }).into())
            }
            Some(Trouble::Auth) => Err(GitError::from(RemoteFailure::AuthFailed).into()),
            Some(Trouble::Refused(text)) => {
                said.push(format!("{} stay pointers: the remote did not give them: {text}", named(&missing)));
                Ok(said)
            }
            None => {
                said.push(format!("{} stay pointers: the remote does not have them", named(&missing)));
                Ok(said)
            }
        }
    }

    /// Gives what is still missing, and what was said about it.
    async fn fetch_wanted(
        &self,
        remote: &Remote,
        wanted: Wanted,
    ) -> Result<(Wanted, Option<Trouble>), GitError> {
        let place = self.transfer_place(remote).await?;
        let new = self.transfer_path();
        let fetched = async {
            let (dir, names) = (place.path().to_owned(), wanted.clone());
            blocking(move || {
                let library = Library::open_bare(&dir).map_err(GitError::library("list what is wanted"))?;
                find::commit_pointers(&library, names.keys()).map(drop)
            })
            .await?;
            let args = ["fetch", "origin", WANTED].map(OsString::from).to_vec();
            let trouble = self.transfer(remote, place.path(), args).await?;
            let (dir, clone) = (place.path().to_owned(), self.path.clone());
            let missing = blocking(move || {
                let ingest = Ingest { clone: &clone, new };
                let mut missing = Wanted::new();
                for (pointer, path) in wanted {
                    let taken = ingest.take_over(&dir, &pointer);
                    if !taken.map_err(GitError::io("store a large file"))? {
                        missing.insert(pointer, path);
                    }
                }
                Ok(missing)
            })
            .await?;
            Ok((missing, trouble))
        };
        let fetched = fetched.await;
        place.remove().await?;
        fetched
    }

    /// Pushes the objects that `commit` and those before it point at, as far as no branch of the remote is known to have them.
    /// `None`: the remote has all of them, so the branch may follow.
    ///
    /// # Errors
    /// [`GitError::LfsUnusable`], [`GitError::Tampered`], [`GitError::Io`].
    pub(in crate::git) async fn push_large_files(
        &self,
        remote: &Remote,
        commit: &CommitId,
    ) -> Result<Option<PushOutcome>, GitError> {
        failpoint::around(Edge::SendLargeFiles, self.send_large_files(remote, commit)).await
    }

    async fn send_large_files(
        &self,
        remote: &Remote,
        commit: &CommitId,
    ) -> Result<Option<PushOutcome>, GitError> {
        let (head, git) = (commit.oid()?, self.git.clone());
        let looked = self
            .verified(move |clone| {
                let library = refs::open(&clone)?;
                let new = find::new_for_remote(&library, &clone, || git.scratch_path(), head)?;
                let Some(new) = new else { return Ok(None) };
                let unruled: HashSet<_> =
                    new.iter().filter(|(_, new)| !new.is_ruled).map(|(pointer, _)| pointer.clone()).collect();
                let mut all: Wanted = new.into_iter().map(|(pointer, new)| (pointer, new.path)).collect();
                let mut missing = without_present(&clone, all.clone())?;
                // nobody says that it is more than text
                all.retain(|pointer, _| !missing.contains_key(pointer) || !unruled.contains(pointer));
                missing.retain(|pointer, _| all.contains_key(pointer));
                Ok(Some((all, missing)))
            })
            .await?;
        let Some((all, missing)) = looked else {
            let text = format!(
                "the branch has more than {} commits that no branch of the remote has: too many to look for their large files",
                find::COMMITS_MAX
            );
            return Ok(Some(PushOutcome::Rejected { text }));
        };
        let too_large: Wanted = all
            .iter()
            .filter(|(pointer, _)| pointer.size() > FILE_BYTES_MAX)
            .map(|(p, path)| (p.clone(), path.clone()))
            .collect();
        if !too_large.is_empty() {
            let text =
                format!("{}: more than 5 GiB, which is more than a large file may have", named(&too_large));
            return Ok(Some(PushOutcome::Rejected { text }));
        }
        let Some(path) = all.values().next() else { return Ok(None) };
        if let Some(lack) = self.git.lfs_lack().await? {
            return Err(GitError::LfsUnusable { path: shown(path), lack });
        }
        if !missing.is_empty() {
            // nobody has to have here what the remote has
            let (missing, trouble) = self.fetch_wanted(remote, missing).await?;
            match trouble {
                _ if missing.is_empty() => {}
                Some(Trouble::Unavailable(text)) => return Ok(Some(PushOutcome::Unavailable { text })),
                Some(Trouble::Auth) => return Ok(Some(PushOutcome::AuthFailed)),
                Some(Trouble::Refused(text)) => return Ok(Some(dangling(&missing, &text))),
                None => return Ok(Some(dangling(&missing, ""))),
            }
        }
        let place = self.transfer_place(remote).await?;
        let pushed = self.push_all(remote, place.path(), all).await;
        place.remove().await?;
        pushed
    }

    async fn push_all(
        &self,
        remote: &Remote,
        place: &Path,
        all: Wanted,
    ) -> Result<Option<PushOutcome>, GitError> {
        let (dir, clone) = (place.to_owned(), self.path.clone());
        let oids: Vec<_> = all.keys().map(|pointer| pointer.oid().to_owned()).collect();
        let lent = move || {
            all.keys().try_for_each(|pointer| match lend(&clone, &dir, pointer)? {
                true => Ok(()),
                false => Err(io::Error::from(io::ErrorKind::NotFound)),
            })
        };
        blocking(move || lent().map_err(GitError::io("get the large files ready"))).await?;
        for some in oids.chunks(NAMED_MAX) {
            let mut args = ["push", "--object-id", "origin"].map(OsString::from).to_vec();
            args.extend(some.iter().map(OsString::from));
            match self.transfer(remote, place, args).await? {
                None => {}
                Some(Trouble::Unavailable(text)) => return Ok(Some(PushOutcome::Unavailable { text })),
                Some(Trouble::Auth) => return Ok(Some(PushOutcome::AuthFailed)),
                Some(Trouble::Refused(text)) => {
                    let text = format!("the large files of the change were refused: {text}");
                    return Ok(Some(PushOutcome::Rejected { text }));
                }
            }
        }
        Ok(None)
    }

    /// Below what is swept when a killed server has left it.
    fn transfer_path(&self) -> PathBuf {
        self.path.join("offshoot").join(self.git.unique("large"))
    }

    async fn transfer_place(&self, remote: &Remote) -> Result<TransferPlace, GitError> {
        if remote.url().starts_with('-') {
            return Err(GitError::InvalidArgument("an address does not begin with a dash"));
        }
        TransferPlace::make(self, self.transfer_path()).await
    }

    /// `None`: it is done.
    async fn transfer(
        &self,
        remote: &Remote,
        place: &Path,
        args: Vec<OsString>,
    ) -> Result<Option<Trouble>, GitError> {
        let mut config = self.git.network_config(remote.has_auth());
        config.extend(remote.auth_config());
        let own = CONFIG.iter().map(|(key, value)| ((*key).to_owned(), SecretString::from(*value)));
        config.extend(own);
        config.push((String::from("remote.origin.url"), SecretString::from(remote.url())));
        // large files take as long as a clone, in either direction
        let deadline = self.git.settings().fetch_deadline;
        let step = "transfer large files";
        let call = Call { step, git_dir: Some(place), work_tree: None, args, config, deadline };
        match self.git.run_lfs(call).await {
            Ok(output) if output.success => Ok(None),
            Ok(output) => {
                let text = remote.redact(&output.stderr);
                let failed = GitError::Program { step, text: last_lines(&text) };
                if failed.is_disk_full() { Err(failed) } else { Ok(Some(Trouble::classify(&text))) }
            }
            Err(GitError::Deadline { seconds, .. }) => {
                Ok(Some(Trouble::Unavailable(format!("no answer within {seconds} s"))))
            }
            Err(error) => Err(error),
        }
    }
}

fn without_present(clone: &Path, mut wanted: Wanted) -> Result<Wanted, GitError> {
    let mut failed = None;
    wanted.retain(|pointer, _| match open_object(clone, pointer) {
        Ok(found) => found.is_none(),
        Err(error) => {
            failed = Some(error);
            true
        }
    });
    failed.map_or(Ok(wanted), |error| Err(GitError::io("look for a large file")(error)))
}

/// `said` is what the remote answered when it was asked for them, or nothing.
fn dangling(missing: &Wanted, said: &str) -> PushOutcome {
    let mut text = format!(
        "{} are committed as pointers of git-lfs, and what they point at is not here and could not be had from the remote",
        named(missing)
    );
    if !said.is_empty() {
        text.push_str(&format!(": {said}"));
    }
    PushOutcome::Rejected { text }
}

/// Some paths of many.
fn named(files: &Wanted) -> String {
    const SHOWN: usize = 3;
    let mut text = files.values().take(SHOWN).map(|path| shown(path)).collect::<Vec<_>>().join(", ");
    if files.len() > SHOWN {
        text.push_str(&format!(" and {} more", files.len() - SHOWN));
    }
    text
}
