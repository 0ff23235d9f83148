//! All that is not the server: the machine's clocks and processes, the logins, and what an onlooker may believe about
//! the jobs. It is asked whenever something starts, and notes what should not be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use offshoot::clock::Clock;
use offshoot::domain::job::Status;
use offshoot::store::Store;
use tokio::time::Instant;

use super::beliefs::{Belief, Ending, Login};
use super::receiver::Receiver;
use super::time::Clocks;

/// Jobs that may run at once, of all clients and of one.
pub(super) const RUNNING_MAX: usize = 3;
pub(super) const RUNNING_PER_CLIENT_MAX: usize = 2;
/// What is due is started after this at the latest: the look that repairs a lost hint, and what it takes.
pub(super) const REPAIRED: Duration = Duration::from_secs(31);

/// An agent on the simulated machine. It outlives the server.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) ends_at: Instant,
    pub(super) end: super::actor::End,
    /// Killed, or gone with the machine.
    pub(super) dead: bool,
    /// The model has answered it, however it ends.
    pub(super) answered: bool,
}

impl Process {
    pub(super) fn lives(&self) -> bool {
        !self.dead && Instant::now() < self.ends_at
    }
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) clock: Clock,
    state: Mutex<State>,
    store: Mutex<Option<Store>>,
}

pub(super) struct State {
    pub(super) clocks: Clocks,
    /// By number.
    pub(super) jobs: BTreeMap<i64, Belief>,
    pub(super) logins: [Login; 2],
    pub(super) paused: bool,
    /// When the queue or a client was paused or resumed, a login looked at, the server started.
    pub(super) changed_at: Instant,
    pub(super) paused_clients: [bool; 3],
    /// By job and attempt.
    pub(super) processes: BTreeMap<(i64, u32), Process>,
    /// Attempts of which the store knows that a model has answered.
    pub(super) answered: BTreeSet<(i64, u32)>,
    /// Ends that a worker has asked the store to write.
    pub(super) endings: BTreeMap<(i64, u32), Ending>,
    /// When a client was served, the last time and the time before, by client and priority.
    pub(super) served: BTreeMap<(usize, i8), (Instant, Option<Instant>)>,
    pub(super) free_since: Option<Instant>,
    pub(super) receiver: Receiver,
    /// No faults any more.
    pub(super) calm: bool,
    pub(super) starts: u64,
    story: Vec<String>,
    pub(super) faults: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64, clock: Clock) -> Arc<Self> {
        let state = State {
            clocks: Clocks::new(clock.clone()),
            jobs: BTreeMap::new(),
            logins: [Login::default(), Login::default()],
            paused: false,
            changed_at: Instant::now(),
            paused_clients: [false; 3],
            processes: BTreeMap::new(),
            answered: BTreeSet::new(),
            endings: BTreeMap::new(),
            served: BTreeMap::new(),
            free_since: None,
            receiver: Receiver::default(),
            calm: false,
            starts: 0,
            story: Vec::new(),
            faults: Vec::new(),
        };
        Arc::new(Self { seed, clock, state: Mutex::new(state), store: Mutex::new(None) })
    }

    /// Never held across a wait.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn store(&self) -> Option<Store> {
        self.store.lock().unwrap().clone()
    }

    pub(super) fn set_store(&self, store: Option<Store>) {
        *self.store.lock().unwrap() = store;
    }

    pub(super) fn tick(&self) {
        self.state().clocks.tick();
    }

    /// What a worker asked for in this step is done by now.
    pub(super) fn take_what_is_committed(&self) {
        let mut state = self.state();
        while let Some(((job, attempt), ending)) = state.endings.pop_first() {
            state.ended(job, attempt, &ending);
        }
    }
}

impl State {
    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        let line = format!("{:>12} wall {} {}", self.clocks.true_ms, self.clocks.wall_ms(), what());
        self.story.push(line);
    }

    pub(super) fn fault(&mut self, what: String) {
        self.tell(|| format!("FAULT {what}"));
        self.faults.push(what);
    }

    /// The end of the story so far.
    pub(super) fn story(&self) -> String {
        self.story[self.story.len().saturating_sub(120)..].join("\n")
    }

    pub(super) fn of(&self, status: Status) -> impl Iterator<Item = (i64, &Belief)> {
        self.jobs.iter().filter(move |(_, job)| job.status == status).map(|(number, job)| (*number, job))
    }

    pub(super) fn running_of(&self, client: usize) -> usize {
        self.of(Status::Running).filter(|(_, job)| job.client == client).count()
    }

    pub(super) fn reboot(&mut self, off_ms: i64, wrong_ms: i64) {
        self.clocks.reboot(off_ms, wrong_ms);
        for process in self.processes.values_mut().filter(|process| process.lives()) {
            process.dead = true;
        }
    }

    /// An agent starts. Two of one job, or of one branch, must never be alive together.
    pub(super) fn launch(&mut self, job: i64, attempt: u32, process: Process) {
        self.tell(|| format!("job {job} attempt {attempt}: agent started, will be {:?}", process.end));
        self.starts += 1;
        let alive: Vec<_> =
            self.processes.iter().filter(|(_, other)| other.lives()).map(|((job, _), _)| *job).collect();
        let of = &self.jobs[&job];
        let beside = |other: &&i64| {
            let other = &self.jobs[*other];
            other.client == of.client && other.is_in_the_way_of(&of.branch)
        };
        if let Some(other) = alive.iter().find(beside) {
            let text = format!("job {job} starts its agent while job {other}'s lives on the same branch");
            self.fault(text);
        }
        if alive.len() >= RUNNING_MAX {
            self.fault(format!("more agents than may run: {alive:?} and {job}"));
        }
        if self.processes.insert((job, attempt), process).is_some() {
            self.fault(format!("a second agent for attempt {attempt} of job {job}"));
        }
    }
}
