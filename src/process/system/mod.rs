//! What is asked of the kernel about processes, and the few system calls without a safe wrapper.
//!
//! Promises: a process is recognised by boot, pid and start time, and signalled only when these agree. Must not
//! know what a step is. Fails: a process that cannot be looked at counts as absent. Tested here and through shims.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod macos;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(not(target_os = "linux"))]
use macos as platform;

use std::collections::HashMap;

use nix::time::{ClockId, clock_gettime};

pub(super) use platform::{
    become_subreaper, boot_id, close_inherited, die_with_parent, has_marker, look_at, may_volunteer_for_oom,
    memory_share, own_numbers, peer_uid, pids, sealed, signal, usage, volunteer_for_oom, working_directory,
};

/// A process as the kernel shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pid: i32,
    pub(super) parent: i32,
    /// Unique for this pid within one boot.
    pub(super) started: u64,
    /// Ended, but not yet waited for.
    pub(super) zombie: bool,
    /// By a signal; it runs again after SIGCONT.
    pub(super) stopped: bool,
}

/// What one process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) threads: u64,
    pub(super) memory_bytes: u64,
}

/// True while exactly this process lives. Looks at one process; fast.
pub(super) fn is_alive(boot: &str, pid: i32, started: u64) -> bool {
    boot_id().is_ok_and(|now| now == boot)
        && look_at(pid).is_some_and(|seen| seen.started == started && !seen.zombie)
}

/// All living descendants of `root`, without itself, in no order.
pub(super) fn descendants(root: i32) -> Vec<Seen> {
    descendants_of(vec![root])
}

/// All living descendants of any of `roots`.
pub(super) fn descendants_of(roots: Vec<i32>) -> Vec<Seen> {
    let mut children: HashMap<i32, Vec<Seen>> = HashMap::new();
    for seen in pids().into_iter().filter_map(look_at) {
        children.entry(seen.parent).or_default().push(seen);
    }
    let (mut found, mut parents) = (Vec::new(), roots);
    while let Some(parent) = parents.pop() {
        for seen in children.remove(&parent).unwrap_or_default() {
            parents.push(seen.pid);
            if !seen.zombie {
                found.push(seen);
            }
        }
    }
    found
}

/// All living processes but this one that carry `marker` (`NAME=value`) in the environment they started with.
pub(super) fn marked(marker: &[u8]) -> Vec<Seen> {
    let own = nix::unistd::getpid().as_raw();
    pids()
        .into_iter()
        .filter(|pid| *pid != own && has_marker(*pid, marker))
        .filter_map(look_at)
        .filter(|seen| !seen.zombie)
        .collect()
}

/// Milliseconds of the clock that stands while the machine sleeps. The shim is a process of its own and cannot
/// be handed the server's clock.
pub(super) fn awake_ms() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = ClockId::CLOCK_MONOTONIC;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::from_raw(nix::libc::CLOCK_UPTIME_RAW);
    u64::try_from(read_ms(clock)).unwrap_or(0)
}

/// Unix milliseconds.
pub(super) fn wall_ms() -> i64 {
    read_ms(ClockId::CLOCK_REALTIME)
}

fn read_ms(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_recognised_and_another_start_time_or_boot_is_not() {
        let pid = nix::unistd::getpid().as_raw();
        let seen = look_at(pid).unwrap();
        let boot = boot_id().unwrap();
        assert!(is_alive(&boot, pid, seen.started));
        assert!(!is_alive(&boot, pid, seen.started + 1));
        assert!(!is_alive("another boot", pid, seen.started));
        assert!(!signal(pid, seen.started + 1, nix::sys::signal::Signal::SIGKILL), "this test would be dead");
    }

    #[test]
    fn a_child_is_a_descendant_and_carries_its_marker_until_it_is_gone() {
        let mut child = std::process::Command::new("cat")
            .env("OFFSHOOT_STEP", "t-1-1-x")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let has = |all: Vec<Seen>| all.iter().any(|seen| seen.pid == pid);
        assert!(has(descendants(nix::unistd::getpid().as_raw())));
        assert!(has(marked(b"OFFSHOOT_STEP=t-1-1-x")));
        assert!(!has(marked(b"OFFSHOOT_STEP=t-1-1")), "a name that only begins alike is another step");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!has(descendants(nix::unistd::getpid().as_raw())));
    }
}
