//! One bare clone on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::commit_id::CommitId;
use super::disk;
use super::error::GitError;
use super::locks::{InUse, RepositoryLock, RepositoryLocks};
use super::program::{Call, Git};
use super::{refs, tamper};
use crate::failpoint::{self, Edge};

/// A bare clone: the objects and refs of one remote repository, and the registrations of its worktrees.
///
/// Cheap to clone. Nothing is looked at before the first call.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(super) git: Git,
    pub(super) path: PathBuf,
    pub(super) lock: Arc<RepositoryLock>,
}

impl Repository {
    /// The clone at `path`, which must be absolute. All users of one path must share `locks`.
    ///
    /// # Errors
    /// [`GitError::InvalidArgument`] for a relative path.
    pub fn new(git: Git, path: impl Into<PathBuf>, locks: &RepositoryLocks) -> Result<Self, GitError> {
        let path = path.into();
        if !path.is_absolute() {
            return Err(GitError::InvalidArgument("a clone's path is absolute"));
        }
        let lock = locks.of(&path);
        Ok(Self { git, path, lock })
    }

    /// Where the clone is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the clone is used, until the answer is dropped: its objects stay as they are. Maintenance under way gives
    /// way within a moment. May be held several times.
    pub async fn enter(&self) -> InUse {
        self.lock.enter().await
    }

    /// Whether a finished clone is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        disk::is_real_dir(&self.path)
    }

    /// Compares the clone's administration with what the server wrote. Every other call does so by itself.
    ///
    /// # Errors
    /// [`GitError::Tampered`] names the first difference.
    pub async fn verify_untampered(&self) -> Result<(), GitError> {
        self.blocking(|clone| tamper::verify(&clone)).await
    }

    /// Puts the clone's settings back where they are others by now, for a person has worked in a worktree of it; gives whether they
    /// were. Whatever else differs stays what it is: [`GitError::Tampered`], for whoever comes next.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn put_settings_back(&self) -> Result<bool, GitError> {
        let _held = self.lock.administer().await;
        self.blocking(|clone| tamper::put_settings_back(&clone).map_err(GitError::io("put settings back")))
            .await
    }

    /// Writes the administration anew after [`GitError::Tampered`]; objects, refs and worktrees stay.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn repair(&self) -> Result<(), GitError> {
        let _held = self.lock.administer().await;
        let repaired =
            self.blocking(|clone| tamper::repair(&clone).map_err(GitError::io("repair the clone")));
        failpoint::around(Edge::RepairClone, repaired).await
    }

    /// As [`Self::exists`], once nobody is about to make the clone or to take it away.
    pub async fn is_there_to_stay(&self) -> bool {
        let _held = self.lock.administer().await;
        self.exists()
    }

    /// Renames the clone away and deletes it. Absence is success.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn remove(&self) -> Result<(), GitError> {
        self.remove_if(std::future::ready(Ok::<_, GitError>(true))).await?;
        Ok(())
    }

    /// As [`Self::remove`], unless `may_go` says no; false then. It is asked behind the administration lock, so whoever has a
    /// right to the clone, and looks with [`Self::is_there_to_stay`] or [`Self::ensure_clone`] whether it is there, has either
    /// been seen or finds it gone.
    ///
    /// # Errors
    /// What `may_go` said; [`GitError::Io`].
    pub async fn remove_if<E: From<GitError>>(
        &self,
        may_go: impl Future<Output = Result<bool, E>>,
    ) -> Result<bool, E> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let away =
            self.path.with_file_name(format!(".{}{}", self.git.unique(&name), super::clone::HALF_SUFFIX));
        {
            let _held = self.lock.administer().await;
            if !may_go.await? {
                return Ok(false);
            }
            match failpoint::at(Edge::RemoveClone, || std::fs::rename(&self.path, &away)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(GitError::io("rename the clone away")(error).into());
                }
                _ => {}
            }
        }
        let deleted = blocking(move || disk::remove_any(&away).map_err(GitError::io("delete the clone")));
        failpoint::around(Edge::DeleteClone, deleted).await?;
        Ok(true)
    }

    /// The commit that a branch of the remote had at the last fetch.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::Library`].
    pub async fn resolve_base(&self, branch: &str) -> Result<Option<CommitId>, GitError> {
        self.find_ref(&format!("refs/remotes/origin/{branch}")).await
    }

    /// The commit of a ref of the clone, by its full name.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::Library`].
    pub async fn find_ref(&self, name: &str) -> Result<Option<CommitId>, GitError> {
        let name = name.to_owned();
        self.verified(move |clone| Ok(refs::find(&refs::open(&clone)?, &name)?.map(CommitId::from))).await
    }

    /// Deletes a ref of the clone, by its full name. Absence is success.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::InvalidArgument`], [`GitError::Library`].
    pub async fn delete_ref(&self, name: &str) -> Result<(), GitError> {
        let _held = self.lock.administer().await;
        self.delete_ref_held(name).await
    }

    /// As [`Self::delete_ref`], for who holds the administration lock.
    pub(super) async fn delete_ref_held(&self, name: &str) -> Result<(), GitError> {
        let wanted = name.to_owned();
        if !self.verified(move |clone| refs::is_to_delete(&refs::open(&clone)?, &wanted)).await? {
            return Ok(());
        }
        let args = ["update-ref", "--no-deref", "-d", name].map(OsString::from).to_vec();
        let (step, deadline) = ("delete a ref", self.git.settings().query_deadline);
        let call =
            Call { step, git_dir: Some(&self.path), work_tree: None, args, config: Vec::new(), deadline };
        // by a program of its own: killed in the middle, this one would leave a lock behind that stops every fetch
        failpoint::around(Edge::DeleteRef, self.git.run_local(call)).await
    }

    /// Whether `commit` is `ancestor` or has it among its ancestors; false when either is not in the clone.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::Library`].
    pub async fn descends_from(&self, commit: &CommitId, ancestor: &CommitId) -> Result<bool, GitError> {
        let (commit, ancestor) = (commit.oid()?, ancestor.oid()?);
        self.verified(move |clone| descends(&refs::open(&clone)?, commit, ancestor)).await
    }

    /// Whether every file and every commit of a snapshot is in one of `others`: it is that commit or one before it, or it has
    /// the same files on commits that are. False where anything cannot be read.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::Library`].
    pub async fn is_held_by(&self, snapshot: &CommitId, others: &[CommitId]) -> Result<bool, GitError> {
        let snapshot = snapshot.oid()?;
        let others = others.iter().map(CommitId::oid).collect::<Result<Vec<_>, _>>()?;
        self.verified(move |clone| {
            let library = refs::open(&clone)?;
            let Ok(kept) = library.find_commit(snapshot) else { return Ok(false) };
            for other in others {
                let Ok(commit) = library.find_commit(other) else { continue };
                if descends(&library, other, snapshot)? {
                    return Ok(true);
                }
                let has_same_files = commit.tree_id() == kept.tree_id();
                let has_history =
                    || kept.parent_ids().all(|it| descends(&library, other, it).unwrap_or(false));
                if has_same_files && has_history() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    /// The first parent of a commit of the clone.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::Library`].
    pub async fn parent_of(&self, commit: &CommitId) -> Result<Option<CommitId>, GitError> {
        let commit = commit.oid()?;
        self.verified(move |clone| {
            let parent = refs::open(&clone)?.find_commit(commit).and_then(|commit| commit.parent_id(0));
            Ok(parent.ok().map(CommitId::from))
        })
        .await
    }

    /// The bytes that the clone occupies on disk.
    ///
    /// # Errors
    /// [`GitError::Abandoned`].
    pub async fn disk_usage(&self) -> Result<u64, GitError> {
        self.blocking(|clone| Ok(disk::usage(&clone))).await
    }

    /// Runs `step` on a thread for blocking work with the clone's path.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        step: impl FnOnce(PathBuf) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let clone = self.path.clone();
        blocking(move || step(clone)).await
    }

    /// As [`Self::blocking`], for a user of the clone, after comparing it.
    pub(super) async fn verified<T: Send + 'static>(
        &self,
        step: impl FnOnce(PathBuf) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let used = self.lock.enter().await;
        self.blocking(|clone| {
            let _used = used;
            tamper::verify(&clone)?;
            step(clone)
        })
        .await
    }
}

/// Runs `step` on a thread for blocking work.
pub(super) async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    tokio::task::spawn_blocking(step).await.map_err(|_| GitError::Abandoned)?
}

/// Whether `commit` is `ancestor` or comes after it; false when either is missing.
pub(super) fn descends(
    library: &git2::Repository,
    commit: git2::Oid,
    ancestor: git2::Oid,
) -> Result<bool, GitError> {
    if library.find_commit(commit).is_err() || library.find_commit(ancestor).is_err() {
        return Ok(false);
    }
    Ok(commit == ancestor
        || library.graph_descendant_of(commit, ancestor).map_err(GitError::library("compare histories"))?)
}
