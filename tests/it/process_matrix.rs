//! Every kind of tree that a command can leave, with every way in which its step can end: nobody survives.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offshoot::process::{Control, ExitCause, StepState, Survivor, TreeWatch, end_lost_tree, inspect};
use tokio::time::Instant;

use crate::process_rig::{DEADLINE, Rig, eventually, finish};

/// The promise: nobody of a tree is left after this time.
const GONE_WITHIN: Duration = Duration::from_secs(15);

/// Who is never ended by being asked to.
const LOOP: &str = "while :; do sleep 0.05; done";

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The command ends by itself.
    Own,
    Cancel,
    /// SIGTERM to the shim.
    Stop,
    WallLimit,
    /// SIGKILL to the shim, with a look at the tree before it, as a server takes.
    ShimKilled,
}

const ENDS: [End; 5] = [End::Own, End::Cancel, End::Stop, End::WallLimit, End::ShimKilled];

/// The living processes that have this word among their arguments.
fn holders(word: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    pids.filter(has).collect()
}

struct Case {
    rig: Rig,
    /// Every process of the tree has it as an argument.
    word: String,
}

impl Case {
    fn new() -> Self {
        let rig = Rig::new();
        // the name of a step is used by nobody else
        let word = format!("tree-{}", rig.step().name());
        Self { rig, word }
    }

    /// `tree` is a line of shell in which `BODY` stands for what each process does and `WORD` for the word.
    fn script(&self, tree: &str) -> String {
        let ready = self.rig.worktree().join("ready").display().to_string();
        let tree = tree.replace("BODY", &format!(": > {ready}; {LOOP}")).replace("WORD", &self.word);
        format!("{tree}\nwhile [ ! -e {ready} ]; do sleep 0.02; done\n")
    }

    async fn ends(self, tree: &str, end: End) {
        let after = if end == End::Own { "exit 0" } else { LOOP };
        let mut spec = self.rig.script(&(self.script(tree) + after));
        if end == End::WallLimit {
            spec.wall_limit = Duration::from_millis(1_500);
        }
        let (step, shim) = self.rig.start(&spec).await;
        let ready = self.rig.worktree().join("ready");
        eventually("the tree stands", || ready.exists()).await;
        let mut watch = TreeWatch::new(&step);
        let began = Instant::now();
        let cause = match end {
            End::Own => ExitCause::Exited,
            End::WallLimit => ExitCause::WallLimit,
            End::Cancel => {
                Control::new(&step).cancel().await.unwrap();
                ExitCause::Cancelled
            }
            End::Stop => {
                kill(Pid::from_raw(shim.pid), Signal::SIGTERM).unwrap();
                ExitCause::Stopped
            }
            End::ShimKilled => {
                watch.look(None);
                kill(Pid::from_raw(shim.pid), Signal::SIGKILL).unwrap();
                eventually("the shim is dead", || matches!(inspect(&step).unwrap(), StepState::Lost(_)))
                    .await;
                let left = end_lost_tree(&step, &self.rig.worktree(), &watch.members(), DEADLINE).await;
                assert_eq!(left.unwrap(), [], "{tree} {end:?}");
                assert_eq!(holders(&self.word), [] as [i32; 0], "{tree} {end:?}");
                return;
            }
        };
        let (_, record) = finish(&step).await;
        assert_eq!((record.cause, record.survivors), (cause, 0), "{tree} {end:?}");
        assert_eq!(holders(&self.word), [] as [i32; 0], "{tree} {end:?}");
        let limit = if end == End::WallLimit { GONE_WITHIN + spec.wall_limit } else { GONE_WITHIN };
        assert!(began.elapsed() < limit, "{tree} {end:?}: {:?}", began.elapsed());
    }
}

async fn every_end(tree: &str) {
    join_all(ENDS.map(|end| Case::new().ends(tree, end))).await;
}

#[tokio::test]
async fn tree_in_a_session_of_its_own() {
    every_end("setsid sh -c 'BODY' WORD &").await;
}

#[tokio::test]
async fn tree_forked_twice() {
    every_end("(setsid sh -c '(sh -c \"BODY\" WORD &)' WORD &)").await;
}

#[tokio::test]
async fn tree_with_an_emptied_environment() {
    every_end("env -i setsid /bin/sh -c 'BODY' WORD &").await;
}

#[tokio::test]
async fn tree_with_an_emptied_environment_away_from_the_worktree() {
    every_end("env -i setsid /bin/sh -c 'cd /; BODY' WORD &").await;
}

#[tokio::test]
async fn tree_that_ignores_every_signal_it_may() {
    every_end("nohup sh -c 'trap \"\" INT TERM HUP QUIT USR1; BODY' WORD & trap '' INT TERM HUP").await;
}

#[tokio::test]
async fn tree_that_is_stopped() {
    every_end("setsid sh -c ': > '\"$PWD\"'/ready; kill -STOP $$; BODY' WORD &").await;
}

#[tokio::test]
async fn tree_that_forks_on_and_on() {
    let storm = "s() { trap \"\" INT TERM; while :; do sleep 0.05 & sleep 0.02; done; }; s & s & s &";
    every_end(&format!("setsid sh -c '{storm} BODY' WORD &")).await;
}

#[tokio::test]
async fn tree_that_holds_the_streams_open() {
    // whoever waits for the end of the streams waits for ever
    every_end("setsid sh -c 'trap \"\" INT TERM; exec 3>&1 4>&2; echo held; BODY' WORD &").await;
}

/// Without a scope and a sandbox this is the one that gets away: whoever forgets its mark, leaves the worktree, loses its
/// parent and is never looked at before its shim is killed. One look before is enough.
#[tokio::test]
async fn who_was_never_looked_at_can_outlive_a_killed_shim_and_nothing_else() {
    let case = Case::new();
    let tree = "(env -i setsid /bin/sh -c 'cd /; BODY' WORD &)";
    let (step, shim) = case.rig.start(&case.rig.script(&(case.script(tree) + LOOP))).await;
    let ready = case.rig.worktree().join("ready");
    eventually("the tree stands", || ready.exists()).await;
    let mut watch = TreeWatch::new(&step);
    watch.look(None);
    kill(Pid::from_raw(shim.pid), Signal::SIGKILL).unwrap();
    eventually("the shim is dead", || matches!(inspect(&step).unwrap(), StepState::Lost(_))).await;
    assert_eq!(end_lost_tree(&step, &case.rig.worktree(), &[], DEADLINE).await.unwrap(), []);
    assert_eq!(holders(&case.word).len(), 1, "it got away: this test and the documentation can say more now");
    let known: Vec<Survivor> = watch.members();
    assert_eq!(end_lost_tree(&step, &case.rig.worktree(), &known, DEADLINE).await.unwrap(), []);
    assert_eq!(holders(&case.word), [] as [i32; 0]);
}
