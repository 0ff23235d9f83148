//! The end of a tree: interrupt, terminate, kill, with a grace between; gone when no child is left to wait for.

use std::collections::HashMap;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid};

use crate::process::system::{self, Seen};

/// Processes in uninterruptible sleep do not even obey SIGKILL; after this time they are reported as survivors.
const KILL_MS_MAX: u64 = 30_000;

/// Passes over the process table in one go. A tree that still forks is outrun by not pausing between them.
const KILL_PASSES: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Rung {
    /// To the process group of the command, as a terminal would.
    Interrupt,
    /// To every process of the tree.
    Terminate,
    /// To every process of the tree, again and again.
    Kill,
}

/// Whom the command's signals go to, while the command is not waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// What was started: the command, or the wrapper around it.
    pub(super) pid: Pid,
    /// A wrapper that is asked to end takes everything with it at once: what is in it is asked, the wrapper only killed.
    pub(super) is_wrapper: bool,
}

impl Target {
    /// Sends SIGINT to the process group of the command, as a terminal would. Inside of a wrapper that group is led by its
    /// init, the wrapper's only child, which the signal does not reach. False: there is nobody.
    pub(super) fn interrupt(self) -> bool {
        // its pid is its group: it began as the leader of a session
        let group = if self.is_wrapper {
            let inside = system::descendants(self.pid.as_raw());
            inside.iter().find(|seen| seen.parent == self.pid.as_raw()).map(|init| Pid::from_raw(init.pid))
        } else {
            Some(self.pid)
        };
        group.is_some_and(|group| killpg(group, Signal::SIGINT).is_ok())
    }

    fn is_spared(self, pid: i32) -> bool {
        self.is_wrapper && pid == self.pid.as_raw()
    }
}

/// Where the end of a tree stands.
#[derive(Debug)]
pub(super) struct Ladder {
    rung: Rung,
    grace_ms: u64,
    next_at: u64,
}

impl Ladder {
    /// Begins at `rung` and sends its signal. `command` is whom it goes to while the command is not waited for.
    pub(super) fn begin(rung: Rung, grace_ms: u64, command: Option<Target>, marker: &[u8]) -> Self {
        let mut ladder = Self { rung, grace_ms, next_at: 0 };
        ladder.enter(rung, command, marker);
        ladder
    }

    /// The command itself has ended: what is left of its tree has nobody to be polite for.
    pub(super) fn command_ended(&mut self, marker: &[u8]) {
        if self.rung == Rung::Interrupt {
            self.enter(Rung::Terminate, None, marker);
        }
    }

    /// Goes on when it is time. False: even killing did not help for so long that it is given up.
    pub(super) fn go_on(&mut self, command: Option<Target>, marker: &[u8]) -> bool {
        let due = system::awake_ms() >= self.next_at;
        match self.rung {
            Rung::Interrupt if due => self.enter(Rung::Terminate, command, marker),
            Rung::Terminate if due => self.enter(Rung::Kill, command, marker),
            Rung::Kill => {
                kill_all(marker);
                return !due;
            }
            _ => {}
        }
        true
    }

    fn enter(&mut self, rung: Rung, command: Option<Target>, marker: &[u8]) {
        self.rung = rung;
        self.next_at = system::awake_ms() + if rung == Rung::Kill { KILL_MS_MAX } else { self.grace_ms };
        match rung {
            Rung::Interrupt => {
                if let Some(command) = command {
                    command.interrupt();
                }
            }
            Rung::Terminate => {
                let is_spared = |pid| command.is_some_and(|command| command.is_spared(pid));
                for seen in living(marker).into_iter().filter(|seen| !is_spared(seen.pid)) {
                    system::signal(seen.pid, seen.started, Signal::SIGTERM);
                }
            }
            Rung::Kill => kill_all(marker),
        }
    }
}

/// Every living process of the tree: descendants, and whoever carries the marker.
pub(super) fn living(marker: &[u8]) -> Vec<Seen> {
    let mut all: HashMap<i32, Seen> = HashMap::new();
    for seen in system::descendants(getpid().as_raw()).into_iter().chain(system::marked(marker)) {
        all.insert(seen.pid, seen);
    }
    all.into_values().collect()
}

fn kill_all(marker: &[u8]) {
    let own = getpid().as_raw();
    for _ in 0..KILL_PASSES {
        let found = system::descendants(own);
        if found.is_empty() {
            break;
        }
        for seen in found {
            system::signal(seen.pid, seen.started, Signal::SIGKILL);
        }
    }
    for seen in system::marked(marker) {
        system::signal(seen.pid, seen.started, Signal::SIGKILL);
    }
}
