//! A process is signalled only when it is the one that was meant: boot, pid and start time agree, and it is no zombie.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::process::{Child, Command, Stdio};

use offshoot::process::{Control, ProcessError, StepState, TreeUse, TreeWatch, end_lost_tree, inspect};
use serde_json::{Value, json};

use crate::process_formats::Old;
use crate::process_rig::{DEADLINE, eventually};

/// Somebody who happens to have the pid by now.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000").current_dir("/").stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> i64 {
        self.0.id().into()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Field 22 of `/proc/<pid>/stat`, behind the name in parentheses.
fn started(pid: i64) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap()
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

#[tokio::test]
async fn whoever_has_the_pid_of_a_dead_supervisor_is_left_alone() {
    let mut bystander = Bystander::new();
    let (pid, own) = (bystander.pid(), i64::from(std::process::id()));
    let gone = {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        i64::from(child.id())
    };
    let mut zombie = Command::new("true").spawn().unwrap();
    let dead = i64::from(zombie.id());
    eventually("it is a zombie", || {
        std::fs::read_to_string(format!("/proc/{dead}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    })
    .await;
    let boot = boot_id();
    let table: [(&str, Value); 10] = [
        ("another start time", json!({"boot_id": boot, "pid": pid, "started": started(pid) + 1})),
        ("an earlier start time", json!({"boot_id": boot, "pid": pid, "started": started(pid) - 1})),
        ("another boot", json!({"boot_id": "another", "pid": pid, "started": started(pid)})),
        ("no boot", json!({"boot_id": "", "pid": pid, "started": started(pid)})),
        ("nobody", json!({"boot_id": boot, "pid": gone, "started": 1})),
        ("a zombie", json!({"boot_id": boot, "pid": dead, "started": started(dead)})),
        ("init", json!({"boot_id": boot, "pid": 1, "started": started(1) + 1})),
        ("this test", json!({"boot_id": boot, "pid": own, "started": started(own) + 1})),
        // kill(2) would take these for a group, or for everybody
        ("a group", json!({"boot_id": boot, "pid": -pid, "started": started(pid)})),
        ("everybody", json!({"boot_id": boot, "pid": -1, "started": started(pid)})),
    ];
    for (what, mut identity) in table {
        identity["format"] = json!(1);
        identity["marker"] = json!("test-7-1-agent-1");
        let old = Old::with(&["shim.json", "log"]);
        std::fs::write(old.file("shim.json"), identity.to_string()).unwrap();
        assert!(matches!(inspect(&old.step).unwrap(), StepState::Lost(_)), "{what}");
        let control = Control::new(&old.step);
        assert!(matches!(control.stop("stop"), Err(ProcessError::Gone)), "{what}");
        assert!(matches!(control.cancel().await, Err(ProcessError::Gone)), "{what}");
        assert!(matches!(control.end("idle").await, Err(ProcessError::Gone)), "{what}");
        let mut watch = TreeWatch::new(&old.step);
        assert_eq!((watch.look(None), watch.members()), (TreeUse::default(), Vec::new()), "{what}");
        let left = end_lost_tree(&old.step, old.step.dir(), &watch.members(), DEADLINE).await;
        assert_eq!(left.unwrap(), [], "{what}");
        assert!(bystander.lives(), "{what}");
    }
    zombie.wait().unwrap();
}

#[tokio::test]
async fn a_member_of_a_lost_tree_whose_pid_was_given_away_is_left_alone() {
    let mut bystander = Bystander::new();
    let pid = i32::try_from(bystander.pid()).unwrap();
    let right = started(bystander.pid());
    let old = Old::with(&["shim.json", "log"]);
    for started in [right + 1, right - 1, 0] {
        let known = [offshoot::process::Survivor { pid, started }];
        assert_eq!(end_lost_tree(&old.step, old.step.dir(), &known, DEADLINE).await.unwrap(), []);
        assert!(bystander.lives());
    }
    let known = [offshoot::process::Survivor { pid, started: right }];
    assert_eq!(end_lost_tree(&old.step, old.step.dir(), &known, DEADLINE).await.unwrap(), []);
    eventually("it is the one that is meant", || !bystander.lives()).await;
}
