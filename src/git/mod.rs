//! Everything that is done with git: clones, worktrees, commits of agents' work, snapshots, pushes, diffs.
//!
//! **Promises.** No program runs that a worktree, its attributes, its hooks, a nested repository or a changed clone
//! could name: staging reads files through descriptors and never follows a link, libgit2 writes objects and refs,
//! and the git program runs only against a clone whose administration was compared byte for byte with what this
//! folder wrote, with an emptied environment, an explicit address and an explicit refspec. Every step is repeatable:
//! repeated after a crash it gives the same result. Work is renamed away before it is deleted.
//!
//! **Division.** The git program does the network (the user's ssh and credential settings apply, passed explicitly)
//! and fills worktrees. libgit2 does refs, history, staging, commits and diffs. Worktree registrations are written
//! here by hand (`gitrepository-layout(5)`) and appear by rename, so no reader meets a half-made one.
//!
//! **Must not know** jobs, clients, GitHub's API, the database, or the process environment: addresses, tokens,
//! paths, times and authors come in as values.
//!
//! **Fails** with [`GitError`]. Failures of the network are classified ([`RemoteFailure`]) so that a caller can tell
//! "wait" from "give up". Without a sandbox around agents the comparison of the clone is the boundary: a process of
//! the same user that writes to the clone between comparison and use is not stopped.
//!
//! **Shadows.** Inside of a sandbox a worktree has a repository of its own in the place of the clone; what was committed in
//! it is brought back before anybody reads where the worktree is (`shadow.rs`).
//!
//! **Idle clones.** Whoever uses a clone has it shared (`locks.rs`); packing has it alone, and is killed when somebody comes.
//!
//! **Damage.** A clone that cannot be read is told from one that somebody changed, set aside by a rename, and made anew;
//! objects whose hash is right are brought over (`damage.rs`). No program ever runs in it.
//!
//! **Large files** are kept beside the repository by git-lfs: pointers and their content are ours, transfers that program's (`lfs/`).
//!
//! **Tested** in `tests/it/git.rs` (the ordinary flow), `tests/it/git_maintenance.rs` (idle clones),
//! `tests/it/git_hostile.rs` and `tests/it/git_copy_out.rs` (what an agent can prepare), with the real program and local bare remotes; pure parts
//! beside the code.

mod archive;
mod attributes;
mod branches;
mod bundle;
mod clearing;
mod clone;
mod collect;
mod commit_id;
mod copied;
mod copy_in;
mod copy_out;
mod damage;
mod depth;
mod diff;
mod diff_piece;
mod disk;
mod error;
mod fetch;
mod give_up;
mod index;
mod leash;
mod leftovers;
mod lfs;
mod lines;
mod local_work;
mod locks;
mod maintenance;
mod measure;
mod measured;
mod network;
mod program;
mod push;
mod quarantine;
mod ref_files;
mod refs;
mod refusal;
mod remote;
mod removal;
mod replay;
mod repository;
mod restore;
mod rules;
mod seed;
mod settings;
mod shadow;
mod snapshot;
mod stage;
mod stale;
mod tamper;
mod tree_walk;
mod unfinished;
mod unfold;
mod unowned;
mod wishes;
mod worktree;
mod written;

pub use branches::KeptBy;
pub use collect::{Author, Collected, CommitSpec};
pub use commit_id::CommitId;
pub use copy_in::CopiedIn;
pub use copy_out::{CopiedOut, KeepCaps};
pub use damage::SetAside;
pub use diff::{ChangeKind, ChangedFile, Diff, DiffRequest};
pub use diff_piece::{DiffLine, DiffPiece, FileLines, LineKind, Piece, PieceRequest};
pub use disk::remove_any;
pub use error::{GitError, RemoteFailure, is_disk_full};
pub use fetch::Fetched;
pub use give_up::GiveUp;
pub use leftovers::Leftover;
pub use lfs::LfsLack;
pub use locks::{InUse, RepositoryLocks};
pub use maintenance::{Gain, Maintained};
pub use measure::{SizeCaps, WorktreeSize, measure_worktree};
pub use program::{Git, new_enough};
pub use push::{PushMode, PushOutcome};
pub use remote::Remote;
pub use removal::{bytes_on_disk, sweep_trash};
pub use replay::Replayed;
pub use repository::Repository;
pub use seed::seed_bare;
pub use settings::GitSettings;
pub use shadow::Shadow;
pub use snapshot::{KEPT_REFS, Snapshot, SnapshotSpec};
pub use stage::Note;
pub use unowned::unowned_clones;
pub use wishes::Wishes;
pub use worktree::{BranchStart, EnsuredWorktree};
pub use written::{Looked, Written, WrittenBounds};
