//! The kinds of jobs that are sent, what their agents do, and how each may end.

use std::path::Path;

use serde_json::{Value, json};

use crate::plan::{Dice, Need};

/// What a job's agent does, or what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Changes a file.
    Edit,
    /// The same, and takes two seconds.
    Slow,
    /// The same, with a pull request at the end.
    PullRequest,
    /// A pull request with labels and with reviewers that the forge refuses.
    Decorated,
    /// The forge does its work, and its answer is lost.
    LostAnswer,
    /// Commits by itself and leaves more behind.
    CommitsItself,
    /// Changes nothing.
    NoChange,
    /// Dies each time, half done.
    Crash,
    /// Dies the first time.
    CrashOnce,
    /// Keeps its worktree.
    Kept,
    /// Dies each time, half done, and keeps its worktree.
    KeptCrash,
    /// Commits three times and dies each time with its HEAD at the first of them.
    Detached,
    /// Dies each time, half done; a retry does the work anew.
    Renewed,
    /// What does it then.
    Anew,
    /// Dies each time, half done; its retry is cancelled before it begins.
    Forsaken,
    /// That retry.
    InVain,
    /// Runs until it is cancelled, with children that do not want to go.
    Hang,
    /// Is cancelled at some moment.
    CancelledSometime,
    /// Meets a usage limit of two seconds the first time; speaks in events.
    UsageLimit,
    /// The remote refuses its push the first time; it is retried, which only publishes.
    RejectedOnce,
    /// The remote takes its push and breaks off without an answer.
    LostPush,
    /// Is not published; a retry does that.
    DryRun,
    /// Somebody else moves its branch meanwhile; a retry brings the commit onto it.
    Moved,
    /// The same, and both changed the same file: the retry runs the agent again.
    Torn,
    /// The model fails in the middle of the work; a retry goes on with the conversation and the files.
    CutOff,
    /// The same, but the agent does not know the conversation any more.
    Forgotten,
    /// What goes on after either.
    Resumed,
    /// Its branch is there already: it gets another one.
    TakenBranch,
    /// Has commands and files of the owner before its agent.
    SetUp,
    /// Has commands that accept its work.
    Verified,
    /// Has one that refuses it once: its agent repairs it in the same conversation.
    Repaired,
    /// Keeps a report that is ignored, and its push is rejected the first time: the retry that publishes takes the report over.
    Keeps,
    /// Is told something while its agent works, and does that too.
    Told,
    /// Is taken over by hand while its agent works, and handed back.
    Attached,
    /// Changes the clone's configuration.
    Tampers,
    /// Waits for a job that was sent before.
    After,
    /// Starts a second later.
    Later,
    /// Edits and keeps a report, and is left alone then until it is so old that it is forgotten.
    Old,
    /// Edits, sent while its client is being deleted.
    Late,
}

/// How the receiver of a job's callback behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Fine,
    /// Its first answer is an error, a redirect, nothing at all, or late.
    FailsOnce,
    /// Wants no more.
    Gone,
    /// Never works: it is given up.
    Broken,
}

const EVERY_DAY: &[(Kind, u64)] = &[
    (Kind::Edit, 22),
    // long enough that a second attempt would meet the first
    (Kind::Slow, 4),
    (Kind::PullRequest, 8),
    (Kind::Decorated, 3),
    (Kind::LostAnswer, 3),
    (Kind::CommitsItself, 10),
    (Kind::NoChange, 8),
    (Kind::Crash, 5),
    (Kind::CrashOnce, 6),
    (Kind::Kept, 4),
    (Kind::KeptCrash, 3),
    (Kind::Detached, 4),
    (Kind::Renewed, 4),
    (Kind::Forsaken, 3),
    (Kind::Hang, 6),
    (Kind::CancelledSometime, 8),
    (Kind::UsageLimit, 3),
    (Kind::RejectedOnce, 5),
    (Kind::LostPush, 4),
    (Kind::DryRun, 4),
    (Kind::Moved, 3),
    (Kind::Torn, 2),
    (Kind::CutOff, 3),
    (Kind::Forgotten, 2),
    (Kind::TakenBranch, 4),
    (Kind::SetUp, 6),
    (Kind::Verified, 5),
    (Kind::Repaired, 4),
    (Kind::Told, 4),
    (Kind::Attached, 4),
    (Kind::Keeps, 4),
    (Kind::Tampers, 1),
    (Kind::After, 8),
    (Kind::Later, 3),
    (Kind::Old, 6),
];

impl Kind {
    /// As the days bring them.
    pub(crate) fn any(dice: &mut Dice) -> Self {
        let whole = EVERY_DAY.iter().map(|(_, weight)| weight).sum();
        let mut left = dice.below(whole);
        for (kind, weight) in EVERY_DAY {
            match left.checked_sub(*weight) {
                Some(less) => left = less,
                None => return *kind,
            }
        }
        Self::Edit
    }

    /// The job that brings what is needed, where a job does.
    pub(crate) fn that_brings(need: Need) -> Option<Self> {
        match need {
            Need::NewRepository | Need::TermWithAgents => Some(Self::Edit),
            Need::Crowd => Some(Self::Slow),
            Need::Verification => Some(Self::Repaired),
            Need::SetUp => Some(Self::SetUp),
            Need::Words => Some(Self::Told),
            Need::Visit => Some(Self::Attached),
            Need::Artifacts => Some(Self::Keeps),
            Need::Tampering => Some(Self::Tampers),
            Need::TakenBranch => Some(Self::TakenBranch),
            Need::MovedBranch => Some(Self::Moved),
            Need::TornBranch => Some(Self::Torn),
            Need::CutOff => Some(Self::CutOff),
            Need::LostConversation => Some(Self::Forgotten),
            Need::EndedConversation => Some(Self::UsageLimit),
            Need::Decoration => Some(Self::Decorated),
            Need::PullRequest => Some(Self::PullRequest),
            Need::Cancel | Need::LostShim => Some(Self::Hang),
            Need::OldJob => Some(Self::Old),
            _ => None,
        }
    }

    /// Its agent speaks in events.
    fn has_events(self) -> bool {
        matches!(
            self,
            Self::UsageLimit | Self::CutOff | Self::Forgotten | Self::Repaired | Self::Told | Self::Attached
        )
    }

    fn opens_a_pull_request(self) -> bool {
        matches!(self, Self::PullRequest | Self::Decorated | Self::LostAnswer)
    }

    /// How it may end when nobody kills its agent: outcomes, and codes of failures.
    pub(crate) fn ends(self) -> &'static [&'static str] {
        match self {
            Self::PullRequest | Self::Decorated | Self::LostAnswer => &["pull_request"],
            Self::NoChange => &["no_changes"],
            Self::Crash | Self::KeptCrash | Self::Detached | Self::Renewed | Self::Forsaken => &["crashed"],
            Self::Hang | Self::InVain => &["cancelled"],
            // a deletion by force cancels it
            Self::CancelledSometime | Self::Late => &["cancelled", "branch_pushed"],
            // a server that is killed over the refusal asks again
            Self::RejectedOnce | Self::Keeps => &["push_rejected", "branch_pushed"],
            Self::DryRun => &["dry_run"],
            // what is tried again after a kill of its agent begins where the branch is by then
            Self::Moved | Self::Torn => &["branch_moved", "branch_pushed"],
            Self::CutOff | Self::Forgotten => &["api_error"],
            Self::Tampers => &["repo_tampered"],
            Self::After => &["branch_pushed", "dependency_failed"],
            Self::Edit
            | Self::Slow
            | Self::CommitsItself
            | Self::CrashOnce
            | Self::Kept
            | Self::Anew
            | Self::UsageLimit
            | Self::LostPush
            | Self::Resumed
            | Self::TakenBranch
            | Self::SetUp
            | Self::Verified
            | Self::Repaired
            | Self::Told
            | Self::Attached
            | Self::Later
            | Self::Old => &["branch_pushed"],
        }
    }

    /// Its agent dies by itself, and has left a file of each attempt.
    pub(crate) fn leaves_files(self) -> bool {
        matches!(self, Self::Crash | Self::KeptCrash | Self::Detached | Self::Renewed | Self::Forsaken)
    }

    /// Its report is kept.
    pub(crate) fn keeps_a_report(self) -> bool {
        matches!(self, Self::Keeps | Self::Old)
    }

    /// Turns of its agent in one attempt.
    pub(crate) fn turns(self) -> usize {
        if matches!(self, Self::Repaired | Self::Told) { 2 } else { 1 }
    }

    /// Attempts that are used up by the agent's own doing.
    pub(crate) fn own_faults(self) -> u32 {
        match self {
            _ if self.leaves_files() => ATTEMPTS_MAX,
            Self::CrashOnce => 1,
            _ => 0,
        }
    }
}

const ATTEMPTS_MAX: u32 = 3;

/// What an agent that keeps a report does for it, and what is in it.
fn report(number: u64) -> String {
    format!("seq {number} {} > out/report.txt", number + REPORT_LINES)
}

/// Lines of a report, but one: enough that half of it is seen to be half.
const REPORT_LINES: u64 = 2_000;

/// The report of the job that was sent as this number.
pub(crate) fn report_text(number: u64) -> String {
    (number..=number + REPORT_LINES).map(|line| format!("{line}\n")).collect()
}

/// Where an installation's agents leave their marks.
pub(crate) struct Places<'a> {
    pub(crate) dir: &'a Path,
}

impl Places<'_> {
    fn runs(&self) -> String {
        self.dir.join("runs").display().to_string()
    }

    /// Of agents that tell which commits they made.
    fn commits(&self) -> String {
        self.dir.join("commits").display().to_string()
    }

    pub(crate) fn once(&self, name: &str) -> String {
        self.dir.join("gates").join(name).display().to_string()
    }

    /// What the agent is told: a shell script, but for the one that speaks in events.
    pub(crate) fn prompt(&self, kind: Kind, number: u64, wait_ms: u64, remote: &Path) -> String {
        let once = self.once(&format!("once-{number}"));
        if kind == Kind::Repaired {
            return format!("[[scenario:write path=f-{number}.txt]]");
        }
        if kind == Kind::Attached {
            return format!("[[scenario:write path=f-{number}.txt]][[scenario:slow seconds=2]]");
        }
        if kind == Kind::Told {
            return format!("[[scenario:slow seconds=1]][[scenario:write path=f-{number}.txt]]");
        }
        if kind.has_events() && kind != Kind::UsageLimit {
            return format!(
                "[[scenario:commit-itself]][[scenario:write path=half-{number}.txt]][[scenario:api-error once={once}]]"
            );
        }
        if kind == Kind::UsageLimit {
            return format!(
                "[[scenario:usage-limit in=2 once={once}]][[scenario:write path=f-{number}.txt]]"
            );
        }
        let begin = format!("echo $OFFSHOOT_STEP >> {}\n", self.runs());
        let pause = format!("sleep 0.{wait_ms:03}\n");
        let edit = format!("echo {number} > f-{number}.txt; echo said {number}\n");
        let rest = match kind {
            Kind::Slow => format!("sleep 2\n{edit}"),
            Kind::NoChange => format!("{pause}echo nothing to do\n"),
            Kind::CommitsItself => {
                format!(
                    "{edit}{pause}git add -A; git commit -qm own\necho more >> f-{number}.txt; mkfifo p\n"
                )
            }
            Kind::Detached => format!(
                "{edit}git add -A; git commit -qm one; echo more >> f-{number}.txt; git commit -qam two\n\
                 touch left-$OFFSHOOT_STEP; git add -A; git commit -qm three\n\
                 echo $OFFSHOOT_STEP $(git rev-parse HEAD) >> {}\n{pause}git checkout -q --detach HEAD~2\nexit 7\n",
                self.commits()
            ),
            _ if kind.leaves_files() => format!("{edit}touch left-$OFFSHOOT_STEP\n{pause}exit 7\n"),
            Kind::CrashOnce => format!("[ -e {once} ] || {{ touch {once}; kill -9 $$; }}\n{edit}"),
            // one that leaves its session, one that ignores what can be ignored; an end of their own all the same
            Kind::Hang => {
                "(setsid sh -c 'trap \"\" INT HUP; exec sleep 300') &\nsleep 300 &\necho waiting; wait\n"
                    .to_owned()
            }
            Kind::Moved | Kind::Torn => {
                let theirs =
                    if kind == Kind::Torn { format!("f-{number}.txt") } else { "theirs.txt".to_owned() };
                let (remote, branch) = (remote.display(), branch(kind, number));
                format!(
                    "[ -e {once} ] || {{ touch {once}; echo theirs > {theirs}; git add -A; git commit -qm theirs\n\
                     git push -q {remote} HEAD:refs/heads/{branch}; git reset -q --hard HEAD^; }}\n{pause}{edit}"
                )
            }
            Kind::SetUp => format!("{pause}cat set-up .env > f-{number}.txt || exit 9\n"),
            _ if kind.keeps_a_report() => {
                format!("{edit}{pause}echo out/ > .gitignore; mkdir -p out; {}\n", report(number))
            }
            Kind::Tampers => format!("{edit}git config core.hooksPath /nowhere\n"),
            _ => format!("{pause}{edit}"),
        };
        begin + &rest
    }

    /// The body of its submission, without repository and callback.
    pub(crate) fn body(&self, kind: Kind, number: u64, wait_ms: u64, remote: &Path) -> Value {
        let publish = match kind {
            Kind::DryRun => "none",
            _ if kind.opens_a_pull_request() => "pull_request",
            _ => "branch",
        };
        let mut options = json!({"publish": publish, "maxAttempts": ATTEMPTS_MAX,
            "agent": if kind.has_events() { "claude" } else { "sh" }});
        let keeps_by_chance = matches!(kind, Kind::Renewed | Kind::Forsaken) && number.is_multiple_of(2);
        if keeps_by_chance || matches!(kind, Kind::Kept | Kind::KeptCrash) {
            options["keepWorktree"] = true.into();
        }
        if kind == Kind::Decorated {
            options["prLabels"] = json!(["made-here"]);
            options["reviewers"] = json!(["nobody"]);
        }
        if kind == Kind::SetUp {
            options["copyFiles"] = json!([".env"]);
            options["setup"] =
                json!(["sleep 0.1; [ ! -e set-up ] && echo set up > set-up", ["test", "-s", ".env"]]);
        }
        if matches!(kind, Kind::Verified | Kind::Repaired) {
            let once = self.once(&format!("refused-once-{number}"));
            let refuses = format!("sleep 0.1; [ -e {once} ] || {{ touch {once}; echo not yet; exit 3; }}");
            let looks = json!(["test", "-s", format!("f-{number}.txt")]);
            let last = if kind == Kind::Repaired { json!(refuses) } else { json!("sleep 0.1") };
            options["verify"] = json!([looks, last]);
        }
        if kind.keeps_a_report() {
            options["artifacts"] = json!(["out/*"]);
        }
        if kind == Kind::TakenBranch {
            options["onBranchExists"] = json!("suffix");
        }
        json!({"prompt": self.prompt(kind, number, wait_ms, remote), "branchName": branch(kind, number),
            "title": format!("Job {number}"), "metadata": {"n": number}, "options": options})
    }
}

/// The remote's hooks know by its name what is to happen to a branch.
pub(crate) fn branch(kind: Kind, number: u64) -> String {
    let folder = match kind {
        Kind::RejectedOnce | Kind::Keeps => "rejected",
        Kind::LostPush => "lost",
        Kind::TakenBranch => "taken",
        Kind::Moved | Kind::Torn => "moved",
        _ => "c",
    };
    format!("{folder}/{number}")
}

/// Refuses a branch of `rejected/` the first time.
pub(crate) fn pre_receive(places: &Places<'_>) -> String {
    format!(
        "#!/bin/sh\nwhile read -r old new ref; do case $ref in refs/heads/rejected/*)\n\
         flag={gates}/refused-${{ref##*/}}; [ -e $flag ] || {{ touch $flag; echo not yet; exit 1; }};;\nesac; done\n",
        gates = places.dir.join("gates").display()
    )
}

/// Takes a branch of `lost/` and breaks off.
pub(crate) const POST_RECEIVE: &str =
    "#!/bin/sh\nwhile read -r old new ref; do case $ref in refs/heads/lost/*) kill -9 $PPID;; esac; done\n";
