//! What the tree of a living step has at a moment, and who belongs to it: for limits that nobody else holds, and for
//! finding the rest of the tree when its shim is killed.

use std::collections::HashMap;

use nix::sys::signal::Signal;

use super::StepDir;
use super::inspect::{Survivor, is_shim_alive};
use super::spec::ShimIdentity;
use super::system::{self, Seen};

/// What the processes of a step have together; the shim itself is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeUse {
    /// Processes and threads.
    pub tasks: u64,
    /// Memory in bytes. Below the limit that was given a quick sum that is rather too high; above it the exact sum, in
    /// which a page that several processes share counts once.
    pub memory_bytes: u64,
}

/// Looks at the tree of one step again and again.
#[derive(Clone, Debug)]
pub struct TreeWatch {
    step: StepDir,
    members: HashMap<i32, Seen>,
}

impl TreeWatch {
    /// Looks at nothing yet.
    #[must_use]
    pub fn new(step: &StepDir) -> Self {
        Self { step: step.clone(), members: HashMap::new() }
    }

    /// Looks now. Reads the whole process table, which blocks for some milliseconds, for a tenth of a second while
    /// there are thousands of processes. Without a living shim, nothing and nobody.
    ///
    /// A shim that somebody stopped is told to go on: a step must not get rid of its supervisor that way.
    pub fn look(&mut self, memory_bytes_max: Option<u64>) -> TreeUse {
        let Some(shim) = ShimIdentity::find(&self.step).ok().flatten().filter(is_shim_alive) else {
            return TreeUse::default();
        };
        if system::look_at(shim.pid).is_some_and(|seen| seen.stopped) {
            system::signal(shim.pid, shim.started, Signal::SIGCONT);
        }
        let marked = system::marked(&self.step.name().marker());
        self.members = system::descendants(shim.pid)
            .into_iter()
            .chain(marked)
            .filter(|seen| seen.pid != shim.pid)
            .map(|seen| (seen.pid, seen))
            .collect();
        let mut used = TreeUse::default();
        for usage in self.members.keys().filter_map(|pid| system::usage(*pid)) {
            used.tasks += usage.threads;
            used.memory_bytes += usage.memory_bytes;
        }
        if memory_bytes_max.is_some_and(|max| used.memory_bytes > max) {
            used.memory_bytes = self.members.keys().filter_map(|pid| system::memory_share(*pid)).sum();
        }
        used
    }

    /// Who belonged to the tree at the last look, for [`end_lost_tree`](super::end_lost_tree).
    #[must_use]
    pub fn members(&self) -> Vec<Survivor> {
        self.members.values().copied().map(Survivor::from).collect()
    }
}
