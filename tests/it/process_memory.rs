//! Deaths for want of memory, told from other deaths by SIGKILL. A directory stands for the control group.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offshoot::process::{CommandSpec, Control, ExitCause, ExitRecord};

use crate::process_rig::{Rig, eventually, finish};

fn count(rig: &Rig, kills: u32) {
    std::fs::write(rig.worktree().join("memory.events"), format!("oom 1\noom_kill {kills}\n")).unwrap();
}

fn spec(rig: &Rig, script: &str) -> CommandSpec {
    count(rig, 3);
    CommandSpec { memory_group: Some(rig.worktree()), ..rig.script(script) }
}

/// Runs a command, lets the count rise by `more`, and kills the command.
async fn killed(more: u32) -> ExitRecord {
    let rig = Rig::new();
    let (step, _) = rig.start(&spec(&rig, "echo $$ > pid; exec sleep 1000")).await;
    eventually("it runs", || {
        std::fs::read_to_string(rig.worktree().join("pid")).is_ok_and(|pid| pid.ends_with('\n'))
    })
    .await;
    count(&rig, 3 + more);
    let pid: i32 = std::fs::read_to_string(rig.worktree().join("pid")).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    finish(&step).await.1
}

#[tokio::test]
async fn a_kill_beside_a_risen_count_was_for_want_of_memory() {
    let record = killed(1).await;
    assert_eq!((record.cause, record.signal, record.out_of_memory), (ExitCause::Exited, Some(9), true));
}

#[tokio::test]
async fn a_kill_without_one_was_somebody_else() {
    let record = killed(0).await;
    assert_eq!((record.cause, record.signal, record.out_of_memory), (ExitCause::Exited, Some(9), false));
}

#[tokio::test]
async fn a_shell_tells_of_the_kill_of_what_it_ran() {
    for (code, expected) in [(137, true), (1, false), (0, false)] {
        let rig = Rig::new();
        let script = format!("sleep 0.1; echo 'oom_kill 4' > memory.events; exit {code}");
        let (_, _, record) = rig.run(&spec(&rig, &script)).await;
        assert_eq!((record.code, record.out_of_memory), (Some(code), expected));
    }
}

#[tokio::test]
async fn our_own_kill_is_not_for_want_of_memory() {
    let rig = Rig::new();
    let (step, _) = rig.start(&spec(&rig, "trap '' INT TERM; : > up; while :; do sleep 0.02; done")).await;
    eventually("it runs", || rig.worktree().join("up").exists()).await;
    Control::new(&step).cancel().await.unwrap();
    count(&rig, 4);
    let (_, record) = finish(&step).await;
    assert_eq!((record.cause, record.signal, record.out_of_memory), (ExitCause::Cancelled, Some(9), false));
}
