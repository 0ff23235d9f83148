//! Named places at which the process ends on order, as if killed: before and after every side effect and every commit.
//!
//! A harness (`tests/chaos`) orders one and looks at what is left. Without the cargo feature `failpoints`, which no
//! release has, every call here is nothing.
//!
//! With it, `OFFSHOOT_FAILPOINT=push.before` ends the process with SIGKILL when it is about to push for the first time,
//! `push.after#3` when it has pushed for the third time. An edge of a shim is ordered in the server's environment too: the
//! server hands it to the first (third) shim that it starts. What follows a `:` is a file that gets a line when the
//! process is struck, so that whoever ordered it knows.

use std::future::Future;

/// The variable that orders a failpoint.
pub const VARIABLE: &str = "OFFSHOOT_FAILPOINT";

macro_rules! edges {
    ($($variant:ident, $name:literal, $what:literal;)+) => {
        /// A side effect or a commit. It has two failpoints: before and after it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Edge {
            $(#[doc = $what] $variant,)+
        }

        impl Edge {
            /// Every edge, in the order of a job's life.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it is ordered.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What happens at it.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)+ }
            }
        }
    };
}

// Commits of the store: *before* is in the open transaction, *after* is before anybody hears of it.
edges! {
    TakeLock, "start.lock", "the lock of the data directory";
    Migrate, "start.migrate", "the schema is brought up to date";
    TakeEpoch, "start.epoch", "the number of this start is taken";
    Listen, "start.listen", "the listener is bound";
    SweepTrash, "start.sweep-trash", "interrupted removals are finished";
    Adopt, "start.adopt", "running jobs are taken over";
    SweepWorktrees, "start.sweep-worktrees", "worktrees of ended jobs are taken away";
    Ready, "start.ready", "the loops are started and the service manager is told";

    CreateClient, "store.create-client", "commit: a new client";
    UpdateClient, "store.update-client", "commit: a changed client";
    PauseClient, "store.pause-client", "commit: a client that may start nothing";
    RecordFetch, "store.record-fetch", "commit: what a fetch has shown";
    DeleteClient, "store.delete-client", "commit: a client is gone";
    ForgetClone, "store.forget-clone", "commit: the clone of a deleted client is gone";
    CreateProfile, "store.create-profile", "commit: a new profile";
    UpdateProfile, "store.update-profile", "commit: a changed profile";
    DeleteProfile, "store.delete-profile", "commit: a profile is gone";
    CreateToken, "store.create-token", "commit: a new token";
    RevokeToken, "store.revoke-token", "commit: a token opens nothing any more";
    NoteTokenUse, "store.note-token-use", "commit: when a token was used last";
    WriteAudit, "store.write-audit", "commit: a call that was refused, or changed something elsewhere";
    ForgetAudit, "store.forget-audit", "commit: what was written down about calls is past its time";
    KeepAnswer, "store.keep-answer", "commit: the answer to a repeated request";
    ForgetAnswers, "store.forget-answers", "commit: old answers are forgotten";
    Submit, "store.submit", "commit: a new job";
    SayToAgent, "store.say-to-agent", "commit: a word for the agent";
    Attach, "store.attach", "commit: somebody takes the job over";
    ProlongVisit, "store.prolong-visit", "commit: the visitor is still there";
    HandBack, "store.hand-back", "commit: the job is handed back";
    EndVisits, "store.end-visits", "commit: visits are over by time";
    EndVisit, "store.end-visit", "commit: nothing lives of a visit any more";
    RequestCancel, "store.request-cancel", "commit: the wish to cancel";
    PauseQueue, "store.pause-queue", "commit: nothing starts";
    ResumeQueue, "store.resume-queue", "commit: jobs start again";
    TryNow, "store.try-now", "commit: holds are lifted";
    NoteRotation, "store.note-rotation", "commit: since when two keys sign";
    NoteTime, "store.note-time", "commit: how the clocks stand to each other";
    Claim, "store.claim", "commit: a job begins an attempt";
    UseLogin, "store.use-login", "commit: whose login is not held, or which job goes as its probe";
    AdoptRunning, "store.adopt-running", "commit: running jobs belong to this server";
    SettleLogins, "store.settle-logins", "commit: the agents of waiting jobs";
    RecordOptions, "store.record-options", "commit: what the attempt runs with";
    ReachPhase, "store.reach-phase", "commit: the next phase";
    RecordBranch, "store.record-branch", "commit: another branch than was asked for";
    RecordEffects, "store.record-effects", "commit: what is true outside by now";
    StartOver, "store.start-over", "commit: the agent works on it after all";
    ForgetSession, "store.forget-session", "commit: the agent's conversation is lost";
    DeleteSession, "store.delete-session", "commit: a conversation is forgotten";
    AddMessage, "store.add-message", "commit: a word of the server";
    AddWarning, "store.add-warning", "commit: a warning";
    BeginStep, "store.begin-step", "commit: a step will be started";
    RecordShim, "store.record-shim", "commit: who supervises the step";
    Ingest, "store.ingest", "commit: what the agent has said";
    RecordVerification, "store.record-verification", "commit: what the owner's commands say of the work";
    RecordArtifacts, "store.record-artifacts", "commit: which files of the worktree are kept";
    RecordUsage, "store.record-usage", "commit: what the agent has used";
    Finish, "store.finish", "commit: the end of an attempt, with the callback";
    ForgetWorktree, "store.forget-worktree", "commit: the job's worktree is gone";
    ForgetWorktrees, "store.forget-worktrees", "commit: ended jobs of the chain have no worktree";
    ForgetOutput, "store.forget-output", "commit: what an agent said is past its time";
    DeleteOutput, "upkeep.delete-output", "what an agent said is deleted";
    BeginForgetting, "store.begin-forgetting", "commit: nothing is built on jobs any more that are past their time";
    ForgetArtifacts, "store.forget-artifacts", "commit: kept files are past their time";
    DeleteArtifacts, "upkeep.delete-artifacts", "kept files are deleted";
    ForgetMessages, "store.forget-messages", "commit: messages or a file of a job that is forgotten";
    ForgetJobs, "store.forget-jobs", "commit: jobs are past their time";
    ForgetEvents, "store.forget-events", "commit: events are past their time";
    RecordTry, "store.record-try", "commit: a callback was tried";
    Redeliver, "store.redeliver", "commit: a callback is due again";
    ResumeUrl, "store.resume-url", "commit: callbacks to an address are due again";

    LayOutClone, "git.lay-out-clone", "a half clone is laid out";
    Fetch, "git.fetch", "the remote's branches are taken over";
    SettleClone, "git.settle-clone", "a clone is renamed into its place";
    RemoveClone, "git.remove-clone", "a clone is renamed away";
    DeleteClone, "git.delete-clone", "a clone is deleted";
    RepairClone, "git.repair-clone", "a clone's administration is written anew";
    Bundle, "git.bundle", "unpublished work is written to a file";
    FetchLargeFiles, "git.fetch-large-files", "large files of a commit come into the clone, if it has any";
    RegisterWorktree, "git.register-worktree", "a worktree is registered, empty";
    FillWorktree, "git.fill-worktree", "a worktree gets its files";
    CopyIn, "git.copy-in", "files of the owner are copied into a worktree";
    CopyOut, "git.copy-out", "files of a worktree are copied to where they are kept";
    AbsorbShadow, "git.absorb-shadow", "what was made in a sandbox comes into the clone, if anything was";
    CommitSnapshot, "git.commit-snapshot", "a snapshot is committed";
    SetSnapshot, "git.set-snapshot", "a snapshot gets its ref";
    KeepHead, "git.keep-head", "a result, or what only a branch has, gets its ref";
    MendWorktree, "git.mend-worktree", "a worktree's registration is put right";
    MakeCommit, "git.make-commit", "the result is committed";
    FinishCommit, "git.finish-commit", "the worktree's branch moves to the result";
    ReplayCommits, "git.replay-commits", "commits are repeated on where their branch is now";
    RestoreFiles, "git.restore-files", "kept files are laid out in a worktree";
    SendLargeFiles, "git.send-large-files", "large files of the result go to the remote, if it has any";
    Push, "git.push", "the result goes to the remote";
    RenameWorktree, "git.rename-worktree", "a worktree is renamed away";
    DeleteWorktree, "git.delete-worktree", "a worktree is deleted";
    DeleteRef, "git.delete-ref", "a local branch is deleted";
    SetCloneAside, "git.set-clone-aside", "a damaged clone is renamed aside";
    CarryOver, "git.carry-over", "what is whole of a damaged clone is brought into the new one";
    SweepLeftovers, "git.sweep-leftovers", "stale locks and dead registrations are removed from an idle clone";
    PackClone, "git.pack-clone", "an idle clone is packed";

    WritePrompt, "step.write-prompt", "the prompt is written to a file";
    WriteSpec, "step.write-spec", "the command is written to a file";
    SpawnShim, "step.spawn-shim", "a shim is started";
    Release, "step.release", "the shim is told to go";
    AskCancel, "step.ask-cancel", "a shim is asked to end its command";
    AskStop, "step.ask-stop", "a shim is told to end and leave";
    EndLostTree, "step.end-lost-tree", "what a killed shim left is killed";

    ReserveExit, "shim.reserve-exit", "room for the exit record is taken";
    StoreIdentity, "shim.store-identity", "the shim says who it is";
    CreateLog, "shim.create-log", "the log is begun";
    WriteReleased, "shim.write-released", "the log says that something was spent";
    SpawnCommand, "shim.spawn-command", "the command is started";
    SyncLog, "shim.sync-log", "the whole log is brought to the disk";
    FillExit, "shim.fill-exit", "the exit record is written";
    RenameExit, "shim.rename-exit", "the exit record gets its name";
    RemoveSocket, "shim.remove-socket", "the control socket is removed";

    OpenPullRequest, "forge.open-pull-request", "a pull request is opened";
    AddLabels, "forge.add-labels", "labels are added to a pull request";
    RequestReviewers, "forge.request-reviewers", "reviewers are asked for";
    SendCallback, "callback.send", "a callback is sent";

    TakeOverArtifacts, "store.take-over-artifacts", "kept files get names of a further job";
    BackUp, "store.back-up", "a backup gets its name";

    Drain, "stop.drain", "workers come to a point at which the next server can go on";
    StopOperations, "stop.operations", "clones under way are waited for";
    StopLoops, "stop.loops", "everything else ends";
    NoteStop, "stop.note", "commit: the stop was in order";
}

impl Edge {
    /// Passed in a shim, not in the server.
    #[must_use]
    pub fn is_in_shim(self) -> bool {
        self.name().starts_with("shim.")
    }
}

/// Which of the two failpoints of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Nothing has happened yet.
    Before,
    /// It has happened, and nobody has heard of it.
    After,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];

    /// As it is ordered, behind the edge's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// Work that is an edge.
pub fn at<T>(edge: Edge, work: impl FnOnce() -> T) -> T {
    pass(edge, Side::Before);
    let done = work();
    pass(edge, Side::After);
    done
}

/// As [`at`], for a future.
pub async fn around<T>(edge: Edge, work: impl Future<Output = T>) -> T {
    pass(edge, Side::Before);
    let done = work.await;
    pass(edge, Side::After);
    done
}

#[cfg(not(feature = "failpoints"))]
mod order {
    use super::{Edge, Side};

    /// Nothing.
    #[inline(always)]
    pub fn pass(_: Edge, _: Side) {}

    /// Nothing.
    #[inline(always)]
    pub fn for_shim() -> Option<(&'static str, String)> {
        None
    }
}

#[cfg(feature = "failpoints")]
mod order {
    use std::ffi::OsStr;
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::getpid;

    use super::{Edge, Side, VARIABLE};

    static ORDER: OnceLock<Order> = OnceLock::new();

    /// Before an effect its own thread stops and the others go on for so long: whoever did not wait for the effect, such as an
    /// answer that is given before its commit, gets out and is found. After it nobody may have heard of it, so nobody goes on.
    const OTHERS_GO_ON: Duration = Duration::from_millis(20);

    struct Order {
        edge: Edge,
        side: Side,
        /// Passings until it strikes.
        left: AtomicU32,
        report: Option<String>,
    }

    /// Takes the order of [`VARIABLE`]; for the beginning of `main`.
    ///
    /// # Panics
    /// When it names no failpoint: it must not look as if it had been passed by.
    pub fn take(ordered: Option<&OsStr>) {
        let Some(ordered) = ordered else { return };
        let text = ordered.to_string_lossy();
        let order = Order::read(&text).unwrap_or_else(|| panic!("{VARIABLE}={text} names no failpoint"));
        let _ = ORDER.set(order);
    }

    impl Order {
        fn read(text: &str) -> Option<Self> {
            let (what, report) = text.split_once(':').map_or((text, None), |(what, file)| (what, Some(file)));
            let (name, count) = what.split_once('#').unwrap_or((what, "1"));
            let (edge, side) = name.rsplit_once('.')?;
            Some(Self {
                edge: *Edge::ALL.iter().find(|known| known.name() == edge)?,
                side: *Side::ALL.iter().find(|known| known.name() == side)?,
                left: AtomicU32::new(count.parse().ok().filter(|count| *count > 0)?),
                report: report.map(str::to_owned),
            })
        }

        fn name(&self) -> String {
            format!("{}.{}", self.edge.name(), self.side.name())
        }

        /// True once, when the count is used up.
        fn is_due(&self) -> bool {
            let less = |left: u32| left.checked_sub(1);
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) == Ok(1)
        }
    }

    /// Ends the process if this is what was ordered.
    pub fn pass(edge: Edge, side: Side) {
        let Some(order) = ORDER.get().filter(|order| order.edge == edge && order.side == side) else {
            return;
        };
        if !order.is_due() {
            return;
        }
        if side == Side::Before {
            std::thread::park_timeout(OTHERS_GO_ON);
        }
        if let Some(report) = &order.report
            && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(report)
        {
            // a shim's last argument is its step
            let who = std::env::args().next_back().unwrap_or_default();
            let _ = file.write_all(format!("{} {} {who}\n", order.name(), getpid()).as_bytes());
        }
        let _ = kill(getpid(), Signal::SIGKILL);
        loop {
            std::thread::park();
        }
    }

    /// The variable of the shim that is started next, if it is the one that was ordered.
    pub fn for_shim() -> Option<(&'static str, String)> {
        let order = ORDER.get().filter(|order| order.edge.is_in_shim() && order.is_due())?;
        let report = order.report.as_ref().map(|file| format!(":{file}")).unwrap_or_default();
        Some((VARIABLE, format!("{}{report}", order.name())))
    }
}

#[cfg(feature = "failpoints")]
pub use order::take;
pub use order::{for_shim, pass};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_can_be_told_from_sides_and_counts() {
        let names: std::collections::BTreeSet<_> = Edge::ALL.iter().map(|edge| edge.name()).collect();
        assert_eq!(names.len(), Edge::ALL.len());
        let plain = |c: char| c.is_ascii_lowercase() || matches!(c, '-' | '.');
        assert!(names.iter().all(|name| name.chars().all(plain)));
        assert!(Edge::ALL.iter().all(|edge| !edge.what().is_empty()));
    }
}
