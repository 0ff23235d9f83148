//! What a command started, wherever it went, is gone when the step is over.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offshoot::process::{
    Control, ExitCause, ProcessError, StepDir, StepState, end_lost_tree, inspect, survivors,
};

use crate::process_rig::{DEADLINE, Rig, eventually, finish, follow, until_says};

/// Reads a pid that a script wrote.
fn pid_in(rig: &Rig, file: &str) -> Pid {
    Pid::from_raw(std::fs::read_to_string(rig.worktree().join(file)).unwrap().trim().parse().unwrap())
}

fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|fields| !fields.is_empty() && !fields.starts_with(" Z"))
}

async fn kill_shim(step: &StepDir, pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("the shim is dead", || !matches!(inspect(step).unwrap(), StepState::Running(_))).await;
}

#[tokio::test]
async fn a_cancel_ends_daemons_that_ignore_every_signal() {
    let rig = Rig::new();
    let daemon = "trap '' INT TERM HUP; (trap '' INT TERM HUP; echo $$ >/dev/null; sh -c 'echo $PPID > inner; while :; do sleep 0.05; done' &) ; while :; do sleep 0.05; done";
    let spec = rig.script(&format!(
        "trap '' INT TERM; (setsid sh -c \"{}\" &) ; setsid env -i /bin/sh -c 'trap \"\" TERM; echo $$ > bare; while :; do sleep 0.05; done' & \
         while [ ! -s inner ] || [ ! -s bare ]; do sleep 0.05; done; echo up; while :; do sleep 0.05; done",
        daemon.replace('$', "\\$")
    ));
    let (step, _) = rig.start(&spec).await;
    until_says(&step, "up").await;
    let (inner, bare) = (pid_in(&rig, "inner"), pid_in(&rig, "bare"));
    assert!(survivors(&step).len() >= 3 && lives(bare));
    Control::new(&step).cancel().await.unwrap();
    Control::new(&step).cancel().await.unwrap();
    let (_, record) = finish(&step).await;
    assert_eq!((record.cause, record.survivors, record.signal), (ExitCause::Cancelled, 0, Some(9)));
    assert_eq!(survivors(&step), []);
    assert!(!lives(inner) && !lives(bare));
}

#[tokio::test]
async fn what_a_command_leaves_in_the_background_is_gone_and_does_not_hold_up_the_end() {
    let rig = Rig::new();
    // The child keeps standard output open: whoever waits for its end waits for ever.
    let (step, records, record) =
        rig.run(&rig.script("nohup setsid sleep 1000 & echo $! > child; echo done")).await;
    assert_eq!((record.cause, record.code, record.survivors), (ExitCause::Exited, Some(0), 0));
    assert_eq!(survivors(&step), []);
    assert!(!lives(pid_in(&rig, "child")));
    assert!(records.iter().any(|record| record.payload == b"done\n"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_marked_process_that_is_no_descendant_any_more_is_ended_too() {
    let rig = Rig::new();
    let step = rig.step();
    // Nobody told the shim of this one: it is a child of the test.
    let mut stray = std::process::Command::new("sh")
        .args(["-c", "trap '' INT TERM; echo > ready; while :; do sleep 0.05; done"])
        .env("OFFSHOOT_STEP", step.name().as_str())
        .current_dir(rig.worktree())
        .spawn()
        .unwrap();
    eventually("it ignores signals", || rig.worktree().join("ready").exists()).await;
    let launched = rig.launcher.launch(&step, &rig.script("true")).await.unwrap();
    launched.release().await.unwrap();
    let (_, record) = finish(&step).await;
    assert_eq!((record.cause, record.code, record.survivors), (ExitCause::Exited, Some(0), 0));
    assert_eq!(stray.wait().unwrap().code(), None, "it was killed");
    assert_eq!(survivors(&step), []);
}

#[tokio::test]
async fn many_short_lives_leave_no_zombie_behind() {
    let rig = Rig::new();
    let (_, shim) = rig
        .start(
            &rig.script("i=0; while [ $i -lt 300 ]; do (true &); i=$((i+1)); done; echo > made; sleep 1000"),
        )
        .await;
    eventually("all are made", || rig.worktree().join("made").exists()).await;
    eventually("only the command is left", || {
        let children =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shim.pid)).unwrap_or_default();
        children.split_whitespace().count() == 1
    })
    .await;
}

#[tokio::test]
async fn a_command_that_goes_on_forking_is_outrun() {
    let rig = Rig::new();
    let storm = "trap '' INT TERM; s() { trap '' INT TERM; while :; do sleep 0.01 & sleep 0.01; done; }; for i in 1 2 3 4; do s & done; echo up; s";
    let (step, _) = rig.start(&rig.script(storm)).await;
    until_says(&step, "up").await;
    Control::new(&step).cancel().await.unwrap();
    let (_, record) = finish(&step).await;
    assert_eq!((record.cause, record.survivors), (ExitCause::Cancelled, 0));
    assert_eq!(survivors(&step), []);
}

#[tokio::test]
async fn a_killed_shim_takes_the_command_with_it_and_the_rest_is_found_from_outside() {
    let rig = Rig::new();
    let spec = rig.script(
        "echo $$ > command; setsid sleep 1000 & cd sub; setsid env -i /bin/sleep 1001 & cd ..; echo up; sleep 1000",
    );
    std::fs::create_dir(rig.worktree().join("sub")).unwrap();
    let (step, shim) = rig.start(&spec).await;
    until_says(&step, "up").await;
    let refused = end_lost_tree(&step, &rig.worktree(), &[], DEADLINE).await.unwrap_err();
    assert!(matches!(refused, ProcessError::Refused(_)), "{refused}");
    kill_shim(&step, shim.pid).await;
    assert_eq!(follow(&step, Default::default()).await.1, StepState::Lost(shim.clone()));
    let command = pid_in(&rig, "command");
    eventually("the command is dead", || !lives(command)).await;
    assert!(!survivors(&step).is_empty(), "the sleeper in its own session lives");
    assert_eq!(end_lost_tree(&step, &rig.worktree(), &[], DEADLINE).await.unwrap(), []);
    assert_eq!(survivors(&step), []);
    let in_worktree = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|entry| {
        std::fs::read_link(entry.path().join("cwd")).is_ok_and(|dir| dir.starts_with(rig.worktree()))
    });
    assert!(!in_worktree);
    assert_eq!(inspect(&step).unwrap(), StepState::Lost(shim));
    assert!(matches!(Control::new(&step).cancel().await, Err(ProcessError::Gone)));
}

#[tokio::test]
async fn a_pid_that_belongs_to_another_process_by_now_is_never_signalled() {
    let rig = Rig::new();
    let (step, shim) = rig.start(&rig.script("echo up; sleep 1000")).await;
    until_says(&step, "up").await;
    let path = step.dir().join("shim.json");
    let written = std::fs::read_to_string(&path).unwrap();
    let forgeries = [
        written.replace(&format!("\"started\":{}", shim.started), "\"started\":1"),
        written.replace(&shim.boot_id, "another-boot"),
    ];
    for forged in forgeries {
        assert_ne!(forged, written);
        std::fs::write(&path, forged).unwrap();
        assert!(matches!(inspect(&step).unwrap(), StepState::Lost(_)));
        assert!(matches!(Control::new(&step).stop("stop"), Err(ProcessError::Gone)));
    }
    std::fs::write(&path, written).unwrap();
    assert_eq!(inspect(&step).unwrap(), StepState::Running(shim));
    Control::new(&step).stop("stop").unwrap();
    assert_eq!(finish(&step).await.1.cause, ExitCause::Stopped);
}

#[tokio::test]
async fn the_ladder_gives_a_command_its_grace_before_it_kills() {
    let rig = Rig::new();
    let mut spec = rig.script(
        "trap '' INT; trap 'echo > said-goodbye; exit 5' TERM; echo up; while :; do sleep 0.02; done",
    );
    spec.stop_grace = Duration::from_secs(3);
    let (step, _) = rig.start(&spec).await;
    until_says(&step, "up").await;
    Control::new(&step).cancel().await.unwrap();
    let (_, record) = finish(&step).await;
    assert_eq!((record.cause, record.code), (ExitCause::Cancelled, Some(5)));
    assert!(rig.worktree().join("said-goodbye").exists());
}

/// By its agent, for example: SIGTERM alone would wait until somebody lets it go on.
#[tokio::test]
async fn a_supervisor_that_was_stopped_hears_that_it_is_to_end() {
    let rig = Rig::new();
    let (step, shim) = rig.start(&rig.script("echo up; exec sleep 1000")).await;
    let pid = Pid::from_raw(shim.pid);
    until_says(&step, "up").await;
    kill(pid, Signal::SIGSTOP).unwrap();
    let stopped =
        || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "));
    eventually("it is stopped", stopped).await;
    Control::new(&step).stop("stop").unwrap();
    let (_, record) = finish(&step).await;
    assert_eq!(record.cause, ExitCause::Stopped);
}
