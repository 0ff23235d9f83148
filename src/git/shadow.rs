//! What stands in the place of the clone for whoever works in a worktree inside of a sandbox.
//!
//! A *shadow* is a bare repository of one worktree alone: our configuration, the remote's branches and tags, the
//! worktree's own branch and registration, and no objects but those that are made in it; the clone's are lent to it for
//! reading. Bound over the clone's path, it lets git commit, branch, stash and collect garbage there, and it has nothing of
//! any other worktree to harm. It lies in the record of its worktree and goes with it.
//!
//! What is made in a shadow comes back by [`Repository::absorb`]. No program and no library opens the shadow as a
//! repository: where HEAD and the branch are is read as plain bytes, object files are linked into a repository of our own
//! making ([`Quarantine`]) and measured there, and git fetches from there with its checks of objects.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::Oid;

use super::collect::resolve;
use super::error::GitError;
use super::give_up::GiveUp;
use super::lfs::Beyond;
use super::quarantine::Quarantine;
use super::refusal::{Again, Refusal, Refused, again, is_refusal};
use super::repository::{Repository, blocking};
use super::worktree::{Head, Place, head_in, read_head, write_own_registration};
use super::{disk, index, lfs, ref_files, refs, tamper};
use crate::failpoint::{self, Edge};

/// Where in a shadow the objects of the clone are lent.
const LENT: &str = "lent";
/// Remote branches and tags that are shown in a shadow; a repository with more is shown without the rest.
const REFS_MAX: usize = 100_000;

/// What is bound where, for a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The path of the clone, over which `shadow` is bound.
    pub clone: PathBuf,
    /// To be written by whoever works in the worktree.
    pub shadow: PathBuf,
    /// The clone's objects, to be bound over `lent` for reading.
    pub objects: PathBuf,
    /// Their place, by the path that it has behind the binding.
    pub lent: PathBuf,
}

/// Where HEAD and the worktree's own branch are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    head: Head,
    head_tip: Option<Oid>,
    branch_tip: Option<Oid>,
}

impl State {
    /// As the server finds it.
    fn of_clone(place: &Place, branch: &str) -> Result<Self, GitError> {
        let library = refs::open(&place.clone)?;
        let head = read_head(place);
        Ok(Self { head_tip: resolve(&library, &head)?, branch_tip: refs::find(&library, branch)?, head })
    }

    /// As whoever worked in the shadow has left it, from plain bytes.
    fn of_shadow(place: &Place, branch: &str) -> Self {
        let shadow = dir(place);
        let id = place.admin.file_name().unwrap_or_default();
        let dirs = ["worktrees", "refs", "refs/heads"];
        if !dirs.iter().all(|name| disk::is_real_dir(&shadow.join(name))) {
            return Self { head: Head::Unreadable, head_tip: None, branch_tip: None };
        }
        let head = head_in(&shadow.join("worktrees").join(id));
        let (found, _) = ref_files::read(&shadow, "refs/heads", &[]);
        let head_tip = match &head {
            Head::Branch(name) => found.get(name).copied(),
            Head::Detached(oid) => Some(*oid),
            Head::Unreadable => None,
        };
        Self { head, head_tip, branch_tip: found.get(branch).copied() }
    }

    fn text(&self) -> String {
        format!("{:?} {:?} {:?}\n", self.head, self.head_tip, self.branch_tip)
    }

    fn tips(&self) -> Vec<Oid> {
        self.head_tip.into_iter().chain(self.branch_tip).collect()
    }
}

impl Repository {
    /// Where the shadow of a worktree is, or would be.
    ///
    /// # Errors
    /// [`GitError::InvalidArgument`].
    pub fn shadow_path(&self, worktree: &Path) -> Result<PathBuf, GitError> {
        Ok(dir(&Place::new(&self.path, worktree)?))
    }

    /// The shadow for whoever works in the worktree next. One that is there is kept, with all that was made in it, unless
    /// the server has moved the worktree or its branch since.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::WorktreeBroken`], [`GitError::Library`], [`GitError::Io`].
    pub async fn lend(&self, worktree: &Path) -> Result<Shadow, GitError> {
        self.lend_unless(worktree, &GiveUp::default()).await
    }

    /// As [`Self::lend`], until nobody waits any more: [`GitError::GivenUp`] then.
    ///
    /// # Errors
    /// As of [`Self::lend`].
    pub async fn lend_unless(&self, worktree: &Path, give_up: &GiveUp) -> Result<Shadow, GitError> {
        self.absorb_unless(worktree, give_up).await?;
        let place = Place::new(&self.path, worktree)?;
        let _held = self.lock.administer().await;
        self.verified(move |_| lay_out(&place)).await
    }

    /// Brings the commits of HEAD and of the worktree's own branch from its shadow into the clone, and moves both there to
    /// where they are. Commits that git's checks refuse, or that are too large to be read, stay where they are, which
    /// [`Repository::collect`] notes. Nothing happens without a shadow, or when nothing has changed since.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::Program`] when git has failed for another reason than the commits,
    /// [`GitError::Deadline`], [`GitError::Library`], [`GitError::Io`]. The next call tries again.
    pub async fn absorb(&self, worktree: &Path) -> Result<(), GitError> {
        self.absorb_unless(worktree, &GiveUp::default()).await
    }

    /// As [`Self::absorb`], until nobody waits any more: [`GitError::GivenUp`] then.
    pub(super) async fn absorb_unless(&self, worktree: &Path, give_up: &GiveUp) -> Result<(), GitError> {
        failpoint::around(Edge::AbsorbShadow, self.absorb_now(worktree, give_up)).await
    }

    /// As [`Self::absorb`], for the last time: what fails in a way that another try would not change is given up, as if git had
    /// refused it, so that no worktree stays for ever because of what an agent has left in its shadow.
    ///
    /// # Errors
    /// As of [`Self::absorb`], where the next call may do better.
    pub async fn absorb_or_leave(&self, worktree: &Path) -> Result<(), GitError> {
        let Err(error) = self.absorb(worktree).await else { return Ok(()) };
        let place = Place::new(&self.path, worktree)?;
        let is_lasting = match again(&error) {
            Again::Otherwise => false,
            Again::SameIfTwice => {
                let place = place.clone();
                blocking(move || has_failed_before(&place)).await?
            }
            Again::Same => true,
        };
        if !is_lasting {
            return Err(error);
        }
        tracing::warn!(%error, "what was committed in a worktree is given up: it cannot be taken over");
        let _held = self.lock.administer().await;
        let left = Left { refused: Some(Refusal::Failed.into()), beyond: None };
        self.verified(move |_| match look(&place)? {
            Some((branch, state)) => settle(&place, &branch, &state, &left),
            None => Ok(()),
        })
        .await
    }

    async fn absorb_now(&self, worktree: &Path, give_up: &GiveUp) -> Result<(), GitError> {
        let place = Place::new(&self.path, worktree)?;
        let looked = {
            let place = place.clone();
            blocking(move || look(&place)).await?
        };
        let Some((branch, state)) = looked else { return Ok(()) };
        let _used = self.lock.enter().await;
        let refused = self.take_objects(&place, &branch, &state, give_up).await?;
        let left = Left { refused, beyond: self.take_large_files(&place, give_up).await? };
        let _held = self.lock.administer().await;
        self.verified(move |_| settle(&place, &branch, &state, &left)).await
    }

    /// Those that an agent's own git-lfs has put into the shadow, as far as something in the clone points at them: its commits came
    /// before. Gives which bound left some of them there.
    async fn take_large_files(&self, place: &Place, give_up: &GiveUp) -> Result<Option<Beyond>, GitError> {
        let (from, new) = (dir(place), place.clone.join("offshoot").join(self.git.unique("large")));
        let (bytes_max, give_up) = (self.git.settings().large_bytes_max, give_up.clone());
        self.verified(move |clone| {
            let library = refs::open(&clone)?;
            let odb = library.odb().map_err(GitError::library("look for pointers"))?;
            let is_wanted = |pointer: &lfs::Pointer| pointer.blob().is_ok_and(|blob| odb.exists(blob));
            let into = lfs::Ingest { clone: &clone, new };
            lfs::absorb(&from, &into, is_wanted, bytes_max, &give_up)
        })
        .await
    }

    /// Why they stay where they are, if they do.
    async fn take_objects(
        &self,
        place: &Place,
        branch: &str,
        state: &State,
        give_up: &GiveUp,
    ) -> Result<Option<Refused>, GitError> {
        // its name says that it is on its way: one that a killed server has left is swept
        let path = place.clone.join("offshoot").join(self.git.unique("absorb"));
        let (dir, from, branch, tips) = (path.clone(), place.clone(), branch.to_owned(), state.tips());
        let filled = self.verified(move |clone| {
            let known = State::of_clone(&from, &branch)?.tips();
            let objects = self::dir(&from).join("objects");
            Ok((Quarantine::fill(dir, &objects, &clone, &tips)?, known))
        });
        let taken = match filled.await {
            Ok((quarantine, known)) => Box::pin(self.take_from(&quarantine, &known, give_up)).await,
            Err(error) => Err(error),
        };
        let delete = move || disk::remove_any(&path).map_err(GitError::io("remove a quarantine"));
        blocking(delete).await?;
        match taken {
            Err(GitError::Program { text, .. }) if is_refusal(&text) => {
                tracing::warn!(text, "git refuses what was committed in a worktree");
                Ok(Some(Refusal::Malformed.into()))
            }
            taken => taken,
        }
    }

    async fn take_from(
        &self,
        quarantine: &Quarantine,
        known: &[Oid],
        give_up: &GiveUp,
    ) -> Result<Option<Refused>, GitError> {
        if quarantine.tips.is_empty() {
            return Ok(None);
        }
        let refused = quarantine.judge(&self.git, &self.path, known, give_up).await?;
        match &refused {
            Some(Refused { why, .. }) => {
                tracing::warn!(?why, "what was committed in a worktree is too large");
            }
            None => quarantine.fetch(&self.git, &self.path, give_up).await?,
        }
        Ok(refused)
    }
}

fn dir(place: &Place) -> PathBuf {
    place.record.join("shadow")
}

/// What the shadow and the clone were at the last absorption, outside of what a sandbox can write.
fn seen_file(place: &Place) -> PathBuf {
    place.record.join("shadow-seen")
}

fn real_file(place: &Place) -> PathBuf {
    place.record.join("shadow-real")
}

/// Left where the last commits were refused; says why.
fn refused_file(place: &Place) -> PathBuf {
    place.record.join("shadow-refused")
}

/// Left where the last try for these commits has failed in a way that a busy machine may be the reason of.
fn failed_file(place: &Place) -> PathBuf {
    place.record.join("shadow-failed")
}

/// Whether a last try for what is in the shadow now has failed before; the next one finds that this has.
fn has_failed_before(place: &Place) -> Result<bool, GitError> {
    let Some((_, state)) = look(place)? else { return Ok(false) };
    if is_as_in(&failed_file(place), &state)? {
        return Ok(true);
    }
    disk::replace_file(&failed_file(place), state.text().as_bytes())
        .map_err(GitError::io("note that commits were not taken over"))?;
    Ok(false)
}

/// Left where the last commits came without some of their large files, with the word for the bound.
fn beyond_file(place: &Place) -> PathBuf {
    place.record.join("shadow-beyond")
}

/// What was not taken over.
struct Left {
    /// The commits, and why.
    refused: Option<Refused>,
    beyond: Option<Beyond>,
}

impl Left {
    fn write(&self, place: &Place) -> io::Result<()> {
        let refused = self.refused.as_ref().map(Refused::text);
        let word = self.beyond.map(|beyond| match beyond {
            Beyond::Bytes => &b"bytes"[..],
            Beyond::Files => b"files",
        });
        for (file, text) in [(refused_file(place), refused.as_deref()), (beyond_file(place), word)] {
            match text {
                Some(text) => disk::replace_file(&file, text)?,
                None => disk::remove_any(&file)?,
            }
        }
        Ok(())
    }
}

/// Where whoever works in the shadow has what git keeps of the worktree; `None`: there is no shadow, or the server or a person has
/// moved the worktree since.
pub(super) fn registration(place: &Place) -> Result<Option<PathBuf>, GitError> {
    let worktrees = dir(place).join("worktrees");
    let inside = worktrees.join(place.admin.file_name().unwrap_or_default());
    let Some(branch) = place.recorded_branch() else { return Ok(None) };
    let is_there = [&dir(place), &worktrees, &inside].into_iter().all(|path| disk::is_real_dir(path));
    let is_current = is_there && is_as_in(&real_file(place), &State::of_clone(place, &branch)?)?;
    Ok(is_current.then_some(inside))
}

/// Why commits that were made in the worktree were refused, if they were.
pub(super) fn refusal(place: &Place) -> Option<Refused> {
    let is_there = refused_file(place).symlink_metadata().is_ok();
    let text = disk::read_small(&refused_file(place)).ok().flatten().unwrap_or_default();
    is_there.then(|| Refused::parse(&text))
}

/// Which bound kept large files of its commits out of the clone.
pub(super) fn met_bound(place: &Place) -> Result<Option<Beyond>, GitError> {
    let word =
        disk::read_small(&beyond_file(place)).map_err(GitError::io("read what a worktree has left"))?;
    Ok(word.map(|word| if word == b"files" { Beyond::Files } else { Beyond::Bytes }))
}

fn is_as_in(file: &Path, state: &State) -> Result<bool, GitError> {
    let bytes = disk::read_small(file).map_err(GitError::io("read what a worktree was"))?;
    Ok(bytes.as_deref() == Some(state.text().as_bytes()))
}

/// The branch of the worktree and the new state of its shadow, if there is one and it has changed.
fn look(place: &Place) -> Result<Option<(String, State)>, GitError> {
    if !disk::is_real_dir(&dir(place)) {
        return Ok(None);
    }
    let Some(branch) = place.recorded_branch() else { return Ok(None) };
    let state = State::of_shadow(place, &branch);
    let is_known = is_as_in(&seen_file(place), &state)?;
    Ok((!is_known).then_some((branch, state)))
}

/// Moves the worktree in the clone to where it is in the shadow, as far as its commits were taken over. Only its own branch
/// is moved: of any other, HEAD is at its commit.
fn settle(place: &Place, branch: &str, state: &State, left: &Left) -> Result<(), GitError> {
    let failed = GitError::io("settle a worktree");
    let library = refs::open(&place.clone)?;
    let before = State::of_clone(place, branch)?;
    let there = |tip: Option<Oid>| tip.filter(|tip| library.find_commit(*tip).is_ok());
    if let Some(tip) = there(state.branch_tip).filter(|tip| before.branch_tip != Some(*tip)) {
        refs::set(&library, branch, tip)?;
    }
    if let Some(tip) = there(state.head_tip) {
        let head = match &state.head {
            Head::Branch(name) if name == branch => format!("ref: {branch}\n"),
            _ => format!("{tip}\n"),
        };
        disk::replace_file(&place.admin.join("HEAD"), head.as_bytes()).map_err(&failed)?;
        if before.head_tip != Some(tip) {
            index::write_of_commit(place, &library, tip)?;
        }
    }
    left.write(place).and_then(|()| disk::remove_any(&failed_file(place))).map_err(&failed)?;
    remember(place, state, &State::of_clone(place, branch)?).map_err(failed)
}

fn remember(place: &Place, shadow: &State, real: &State) -> io::Result<()> {
    disk::replace_file(&real_file(place), real.text().as_bytes())?;
    disk::replace_file(&seen_file(place), shadow.text().as_bytes())
}

fn lay_out(place: &Place) -> Result<Shadow, GitError> {
    let branch = place.recorded_branch().ok_or(GitError::WorktreeBroken("it was not made by this server"))?;
    let real = State::of_clone(place, &branch)?;
    let shadow = dir(place);
    if !(disk::is_real_dir(&shadow.join(LENT)) && is_as_in(&real_file(place), &real)?) {
        make(place, &branch, &real)?;
    }
    Ok(Shadow {
        clone: place.clone.clone(),
        shadow,
        objects: place.clone.join("objects"),
        lent: place.clone.join(LENT),
    })
}

fn make(place: &Place, branch: &str, real: &State) -> Result<(), GitError> {
    let failed = GitError::io("make a shadow of the clone");
    let new = place.record.join("shadow-new");
    for old in [&new, &dir(place)] {
        disk::remove_any(old).map_err(&failed)?;
    }
    fs::create_dir_all(new.join(LENT)).and_then(|()| tamper::lay_out(&new)).map_err(&failed)?;
    // as seen from the directory of objects
    fs::write(new.join("objects/info/alternates"), format!("../{LENT}\n")).map_err(&failed)?;
    fs::write(new.join("packed-refs"), packed_refs(place, branch, real)?).map_err(&failed)?;
    write_own_registration(place, &new).map_err(&failed)?;
    fs::rename(&new, dir(place)).map_err(&failed)?;
    // what the one before it has left is gone with it
    Left { refused: None, beyond: None }.write(place).map_err(&failed)?;
    let shadow = State::of_shadow(place, branch);
    remember(place, &shadow, real).map_err(failed)
}

/// The branches of the remote, the tags, and the worktree's own branch: no other local one.
fn packed_refs(place: &Place, branch: &str, real: &State) -> Result<String, GitError> {
    let failed = GitError::library("list the refs for a shadow");
    let library = refs::open(&place.clone)?;
    let mut text = String::new();
    for glob in ["refs/remotes/origin/*", "refs/tags/*"] {
        for reference in library.references_glob(glob).map_err(&failed)?.take(REFS_MAX) {
            let reference = reference.map_err(&failed)?;
            if let (Ok(name), Some(oid)) = (reference.name(), reference.target()) {
                let _ = writeln!(text, "{oid} {name}");
            }
        }
    }
    if let Some(tip) = real.branch_tip {
        let _ = writeln!(text, "{tip} {branch}");
    }
    Ok(text)
}
