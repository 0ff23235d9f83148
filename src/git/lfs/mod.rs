//! Large files that a repository keeps beside itself (git-lfs): a *pointer* in the commit, the content as an *object* elsewhere.
//!
//! **Promises.** What git calls the clean and the smudge filter is our own code: no program runs because a worktree's
//! attributes say so. An object is found by its hash, is checked against it each time it is used, appears by rename, and is
//! reached through directories that are no links. The git-lfs program does transfers alone, in a repository that is made for one
//! transfer and holds nothing but pointers: no `.lfsconfig`, no setting and no reference that an agent could have written.
//! Nothing is pushed that points at an object which is neither here nor at the remote. Whoever takes a clone away takes its objects
//! along first (`lend_all`), for a push is the only other way out of it.
//!
//! **Must not know** jobs or clients. Without the program, or with one that does not work (`lack.rs`), files stay pointers, and who changes one is told.
//!
//! **Fails** with [`GitError`](super::GitError); what the remote's store of large files says is a [`PushOutcome`](super::PushOutcome) or a
//! [`RemoteFailure`](super::RemoteFailure), classified by `answer.rs`.
//!
//! **Tested** in `tests/it/git_lfs.rs` with the real program, `tests/it/git_lfs_kept.rs` (what is not published), `tests/it/life_lfs.rs` on a whole server, and beside the code.

mod answer;
mod checkout;
mod find;
mod lack;
mod place;
mod pointer;
mod store;
mod transfer;

pub use lack::LfsLack;

pub(super) use checkout::check_out;
pub(super) use find::{pointer_at, without_content};
pub(super) use pointer::{POINTER_BYTES_MAX, Pointer};
pub(super) use store::{ABSORBED_MAX, Beyond, Ingest, absorb, lend_all, open_object};

/// What brings the program.
const LFS_INSTALL: &str =
    if cfg!(target_os = "macos") { "brew install git-lfs" } else { "sudo apt install git-lfs" };

/// Of one file, in bytes: the most that GitHub takes by any plan. Larger ones are not fetched and not committed.
pub(super) const FILE_BYTES_MAX: u64 = 5 << 30;
