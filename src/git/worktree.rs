//! A checkout of its own for one chain of work, made or mended.
//!
//! A registration is three small files (`gitrepository-layout(5)`, "worktrees"). They are written here and appear by
//! rename, because the program's own `worktree add` lets its neighbours read half-made ones. Beside them the clone
//! keeps a *record*: the branch, and a copy of the index as it was when the files were complete. The record tells a
//! finished worktree from a half-made one, and later which files cannot have changed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::Oid;

use super::commit_id::CommitId;
use super::error::GitError;
use super::program::Call;
use super::repository::{Repository, blocking};
use super::{disk, index, lfs, refs, removal};
use crate::failpoint::{self, Edge};

/// What happens to a branch and a worktree that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchStart {
    /// An existing branch stays where it is, an existing worktree keeps its content; only what is missing is made.
    Reuse,
    /// The branch is set to the start, and the worktree is made anew; the old one is renamed away and deleted.
    Reset,
}

/// A worktree that is ready for work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnsuredWorktree {
    /// Made by this call, rather than found.
    pub created: bool,
    /// The commit that a new worktree was filled with; for a found one, where its branch is.
    pub commit: CommitId,
}

impl Repository {
    /// A worktree at `path` (absolute, its last name unique within the clone) on `branch`. Whatever an agent or a
    /// crash did to its registration is mended; files are written outside of the lock, and no filter or hook runs.
    ///
    /// # Errors
    /// [`GitError::CommitMissing`], [`GitError::Tampered`], [`GitError::InvalidArgument`], [`GitError::Program`],
    /// [`GitError::Io`].
    pub async fn ensure_worktree(
        &self,
        path: &Path,
        branch: &str,
        start: &CommitId,
        mode: BranchStart,
    ) -> Result<EnsuredWorktree, GitError> {
        let place = Place::new(&self.path, path)?;
        let order = Order {
            branch: format!("refs/heads/{branch}"),
            start: start.clone(),
            mode,
            trash: self.git.unique("old"),
        };
        if !refs::is_safe_name(&order.branch) {
            return Err(GitError::InvalidArgument("not a valid branch name"));
        }
        let registered = {
            let _held = self.lock.administer().await;
            let place = place.clone();
            let registered = self.verified(move |_| register(&place, &order));
            failpoint::around(Edge::RegisterWorktree, registered).await?
        };
        let (commit, created) = match registered {
            Registered::Kept(commit) => (commit, false),
            Registered::Empty { commit, trash } => {
                // What only looked half-made stays in the trash until the next sweep, in case it was not.
                if mode == BranchStart::Reset {
                    let delete = move || trash.iter().try_for_each(|old| disk::remove_any(old));
                    blocking(move || delete().map_err(GitError::io("delete an old worktree"))).await?;
                }
                self.fill(&place, &commit).await?;
                (commit, true)
            }
        };
        Ok(EnsuredWorktree { created, commit })
    }

    /// Writes the files of a commit, large ones with their content as far as the clone has it. No filter is configured
    /// anywhere, so attributes that name one do nothing.
    async fn fill(&self, place: &Place, commit: &CommitId) -> Result<(), GitError> {
        let step = "fill the worktree";
        let args: Vec<OsString> =
            ["read-tree", "--reset", "-u", commit.as_str()].map(OsString::from).to_vec();
        let deadline = self.git.settings().checkout_deadline;
        let (git_dir, work_tree) = (Some(place.admin.as_path()), Some(place.path.as_path()));
        let call = Call { step, git_dir, work_tree, args, config: Vec::new(), deadline };
        let (filled, scratch) = (place.clone(), self.git.scratch_path());
        let files = async {
            self.git.run_local(call).await?;
            let oid = commit.oid()?;
            blocking(move || lfs::check_out(&filled, scratch, oid)).await
        };
        failpoint::around(Edge::FillWorktree, files).await?;
        let place = place.clone();
        blocking(move || index::save_baseline(&place)).await
    }
}

/// The three directories of one worktree.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The files.
    pub(super) path: PathBuf,
    /// The bare clone.
    pub(super) clone: PathBuf,
    /// The registration inside the clone, which an agent's own git writes to.
    pub(super) admin: PathBuf,
    /// The server's own record inside the clone.
    pub(super) record: PathBuf,
}

impl Place {
    pub(super) fn new(clone: &Path, path: &Path) -> Result<Self, GitError> {
        let id = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !path.is_absolute() || id.is_empty() || !id.chars().all(plain) {
            return Err(GitError::InvalidArgument("a worktree's path is absolute and ends in a plain name"));
        }
        Ok(Self {
            path: path.to_owned(),
            clone: clone.to_owned(),
            admin: clone.join("worktrees").join(id),
            record: clone.join("offshoot").join(id),
        })
    }

    /// The branch that the worktree was made for.
    pub(super) fn recorded_branch(&self) -> Option<String> {
        branch_in(&self.record)
    }

    fn is_complete(&self) -> bool {
        disk::is_real_dir(&self.path)
            && index::baseline_path(self).symlink_metadata().is_ok_and(|meta| meta.is_file())
    }
}

/// The registration of another worktree of the same clone.
pub(super) struct Other {
    admin: PathBuf,
    record: PathBuf,
}

impl Other {
    /// Its HEAD names the branch.
    pub(super) fn is_on(&self, branch: &str) -> bool {
        matches!(head_in(&self.admin), Head::Branch(name) if name == branch)
    }

    /// It was made for the branch.
    pub(super) fn is_for(&self, branch: &str) -> bool {
        branch_in(&self.record).is_some_and(|name| name == branch)
    }
}

/// All registrations of the clone but that of this place.
pub(super) fn others(place: &Place) -> Result<Vec<Other>, GitError> {
    let dir = place.clone.join("worktrees");
    if !disk::is_real_dir(&dir) {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let ids = entries.map_err(GitError::io("list the worktrees"))?.into_iter().map(|entry| entry.file_name());
    let other = |id| Other { admin: dir.join(&id), record: place.clone.join("offshoot").join(&id) };
    Ok(ids.map(other).filter(|other| other.admin != place.admin).collect())
}

fn branch_in(record: &Path) -> Option<String> {
    let bytes = disk::read_small(&record.join("branch")).ok()??;
    String::from_utf8(bytes).ok().filter(|name| refs::is_safe_name(name))
}

struct Order {
    branch: String,
    start: CommitId,
    mode: BranchStart,
    trash: String,
}

enum Registered {
    Kept(CommitId),
    Empty { commit: CommitId, trash: Vec<PathBuf> },
}

fn register(place: &Place, order: &Order) -> Result<Registered, GitError> {
    let library = refs::open(&place.clone)?;
    let start = order.start.oid()?;
    if library.find_commit(start).is_err() {
        return Err(GitError::CommitMissing(order.start.clone()));
    }
    let current = refs::find(&library, &order.branch)?.filter(|oid| library.find_commit(*oid).is_ok());
    let tip = match (order.mode, current) {
        (BranchStart::Reuse, Some(tip)) => tip,
        _ => start,
    };
    if current != Some(tip) {
        if let Some(current) = current {
            leave_others(place, &order.branch, current)?;
        }
        refs::set(&library, &order.branch, tip)?;
    }
    let failed = GitError::io("register the worktree");
    if order.mode == BranchStart::Reuse && place.is_complete() {
        mend(place, &order.branch, &order.trash).map_err(failed)?;
        return Ok(Registered::Kept(tip.into()));
    }
    let trash = make_empty(place, order).map_err(failed)?;
    Ok(Registered::Empty { commit: tip.into(), trash })
}

/// Other worktrees on a branch that is about to move stay where they are, at the commit that their files belong to.
fn leave_others(place: &Place, branch: &str, at: Oid) -> Result<(), GitError> {
    for other in others(place)?.into_iter().filter(|other| other.is_on(branch)) {
        disk::replace_file(&other.admin.join("HEAD"), format!("{at}\n").as_bytes())
            .map_err(GitError::io("leave a worktree at its commit"))?;
    }
    Ok(())
}

/// Renames away what is there and makes a registered worktree without files. Gives back what is to be deleted.
fn make_empty(place: &Place, order: &Order) -> io::Result<Vec<PathBuf>> {
    // Without its record the worktree counts as half-made from here on.
    disk::remove_any(&place.record)?;
    let mut trash = Vec::new();
    trash.extend(removal::rename_to_trash(&place.path, &order.trash)?);
    disk::remove_any(&place.admin)?;
    let head = format!("ref: {}\n", order.branch);
    write_registration(place, head.as_bytes(), &order.trash)?;
    fs::create_dir_all(&place.path)?;
    disk::replace_file(&place.path.join(".git"), &pointer(&place.admin, "gitdir: "))?;
    fs::create_dir_all(&place.record)?;
    disk::replace_file(&place.record.join("branch"), order.branch.as_bytes())?;
    Ok(trash)
}

/// A whole registration, visible at once.
fn write_registration(place: &Place, head: &[u8], unique: &str) -> io::Result<()> {
    let new = place.clone.join("offshoot").join(unique);
    fs::create_dir_all(&new)?;
    fs::write(new.join("HEAD"), head)?;
    fs::write(new.join("commondir"), "../..\n")?;
    fs::write(new.join("gitdir"), pointer(&place.path.join(".git"), ""))?;
    let worktrees = place.clone.join("worktrees");
    if !disk::is_real_dir(&worktrees) {
        disk::remove_any(&worktrees)?;
        fs::create_dir_all(&worktrees)?;
    }
    fs::rename(&new, &place.admin)
}

/// The registration as it is, for a repository at `shadow` that will be bound over the clone.
pub(super) fn write_own_registration(place: &Place, shadow: &Path) -> io::Result<()> {
    let admin = shadow.join("worktrees").join(place.admin.file_name().unwrap_or_default());
    fs::create_dir_all(&admin)?;
    let head = disk::read_small(&place.admin.join("HEAD"))?.ok_or(io::ErrorKind::NotFound)?;
    fs::write(admin.join("HEAD"), head)?;
    fs::write(admin.join("commondir"), "../..\n")?;
    fs::write(admin.join("gitdir"), pointer(&place.path.join(".git"), ""))?;
    let index = place.admin.join("index");
    let source = if index.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        index
    } else {
        index::baseline_path(place)
    };
    fs::copy(source, admin.join("index")).map(drop)
}

/// Puts right what git needs to know the worktree, and keeps its files, its HEAD and its index where they can be read.
pub(super) fn mend(place: &Place, branch: &str, unique: &str) -> io::Result<()> {
    let gitdir = pointer(&place.path.join(".git"), "");
    if !disk::is_real_dir(&place.admin) {
        disk::remove_any(&place.admin)?;
        write_registration(place, format!("ref: {branch}\n").as_bytes(), unique)?;
    }
    for (name, expected) in [("gitdir", gitdir.as_slice()), ("commondir", b"../..\n")] {
        let file = place.admin.join(name);
        if disk::read_small(&file)?.as_deref() != Some(expected) {
            removal::discard_unless_file(&file)?;
            disk::replace_file(&file, expected)?;
        }
    }
    for stale in ["config.worktree", "index.lock", "HEAD.lock", "locked"] {
        disk::remove_any(&place.admin.join(stale))?;
    }
    if read_head(place) == Head::Unreadable {
        removal::discard_unless_file(&place.admin.join("HEAD"))?;
        disk::replace_file(&place.admin.join("HEAD"), format!("ref: {branch}\n").as_bytes())?;
    }
    let agents_index = place.admin.join("index");
    if !agents_index.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        disk::remove_any(&agents_index)?;
        fs::copy(index::baseline_path(place), &agents_index)?;
    }
    let git_file = place.path.join(".git");
    let expected = pointer(&place.admin, "gitdir: ");
    if disk::read_small(&git_file)?.as_deref() != Some(&expected) {
        disk::remove_any(&git_file)?;
        disk::replace_file(&git_file, &expected)?;
    }
    Ok(())
}

/// Where a worktree's HEAD is, as its registration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Branch(String),
    Detached(Oid),
    Unreadable,
}

/// Reads HEAD as bytes; the worktree's own `.git` has no say.
pub(super) fn read_head(place: &Place) -> Head {
    head_in(&place.admin)
}

pub(super) fn head_in(admin: &Path) -> Head {
    let Ok(Some(bytes)) = disk::read_small(&admin.join("HEAD")) else { return Head::Unreadable };
    let Ok(text) = String::from_utf8(bytes) else { return Head::Unreadable };
    let text = text.trim_end_matches('\n');
    if let Some(name) = text.strip_prefix("ref: ") {
        return if refs::is_safe_name(name) { Head::Branch(name.to_owned()) } else { Head::Unreadable };
    }
    text.parse::<CommitId>().and_then(|id| id.oid()).map_or(Head::Unreadable, Head::Detached)
}

fn pointer(path: &Path, before: &str) -> Vec<u8> {
    [before.as_bytes(), path.as_os_str().as_encoded_bytes(), b"\n"].concat()
}
