//! What the git program is run with, passed in at start.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of [`Git`](super::Git).
#[derive(Clone, Debug)]
pub struct GitSettings {
    /// The program, found through `PATH` of `environment` unless absolute.
    pub program: PathBuf,
    /// The program that transfers large files, found likewise. It may be absent.
    pub lfs_program: PathBuf,
    /// The whole environment that git may inherit: `PATH`, `HOME`, `SSH_AUTH_SOCK`, proxy variables and the like.
    /// Names beginning with `GIT_` are dropped, except `GIT_SSH`, `GIT_SSH_COMMAND` and `GIT_SSH_VARIANT`.
    pub environment: BTreeMap<OsString, OsString>,
    /// A private directory on a local disk for short-lived files, of one server alone; made if missing.
    pub scratch_dir: PathBuf,
    /// What clones are marked with that are made now, and by which they are known again: of one installation alone, a line of
    /// text. Empty: no mark, and no clone is taken for one of ours.
    pub maker: String,
    /// The transports that git may use, as in `GIT_ALLOW_PROTOCOL` (git(1)), for instance `https:ssh`.
    pub allowed_protocols: String,
    /// Of the large files of one result, and of those that an agent has stored by itself, in bytes as they are read: a hole in a file
    /// takes no room in a worktree, and is written out in an object.
    pub large_bytes_max: u64,
    /// Of one file in what an agent has committed by itself, in bytes: as of one that the server commits for it.
    pub file_bytes_max: u64,
    /// The deadline of a clone or a fetch.
    pub fetch_deadline: Duration,
    /// The deadline of a push.
    pub push_deadline: Duration,
    /// The deadline of a question such as `ls-remote`, and of local steps except filling a worktree.
    pub query_deadline: Duration,
    /// The deadline of filling a worktree.
    pub checkout_deadline: Duration,
    /// How long a lock of a clone in which an agent works has to stay as it is before it counts as left behind.
    pub stale_lock_after: Duration,
}

impl GitSettings {
    /// Usual deadlines: an hour for the first clone of a very large repository, ten minutes for a push, one for a
    /// question, twenty for a checkout on a slow disk. Packing 600,000 refs holds their lock for a second.
    #[must_use]
    pub fn new(environment: BTreeMap<OsString, OsString>, scratch_dir: PathBuf) -> Self {
        Self {
            program: PathBuf::from("git"),
            lfs_program: PathBuf::from("git-lfs"),
            environment,
            scratch_dir,
            maker: String::new(),
            allowed_protocols: String::from("https:http:ssh:git:file"),
            large_bytes_max: 20 << 30,
            file_bytes_max: 100 << 20,
            fetch_deadline: Duration::from_secs(60 * 60),
            push_deadline: Duration::from_secs(10 * 60),
            query_deadline: Duration::from_secs(60),
            checkout_deadline: Duration::from_secs(20 * 60),
            stale_lock_after: Duration::from_secs(60),
        }
    }
}
