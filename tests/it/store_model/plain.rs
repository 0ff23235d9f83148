//! The queue in its plainest form: what the store promises, without a database.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use offshoot::domain::job::{Status, Waiting, WaitingFor};
use offshoot::domain::time::Timestamp;
use offshoot::store::Limits;

pub(super) const LIMITS: Limits =
    Limits { running_max: 3, running_per_client_max: Some(2), queued_max: 12, disk_free_bytes_min: 0 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Failed,
    Stopped,
    /// A limit that is over after so many seconds, or is by our clock already.
    Limit(i64),
    LoggedOut,
    Away,
    Crashed,
    Cancelled,
}

/// What is believed about one job.
#[derive(Clone, Debug)]
pub(super) struct Believed {
    pub(super) client: usize,
    pub(super) branch: String,
    pub(super) rank: i64,
    pub(super) turn: i64,
    pub(super) login: usize,
    pub(super) status: Status,
    pub(super) attempts: u32,
    pub(super) counted: u32,
    pub(super) tries: u32,
    /// In steady time, as all that we choose ourselves.
    pub(super) not_before: Option<i64>,
    pub(super) run_at: Option<i64>,
    /// Those it still waits for.
    pub(super) waits: BTreeSet<usize>,
    pub(super) cancel: bool,
    /// In its attempt the agent was answered.
    pub(super) agent: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) for_: WaitingFor,
    /// When it ends by the wall clock, and by the steady one.
    pub(super) until: Option<(i64, i64)>,
    pub(super) probe: Option<usize>,
}

/// The queue in its plainest form; jobs are counted from 0, their numbers from 1.
#[derive(Default)]
pub(super) struct Model {
    pub(super) jobs: Vec<Believed>,
    pub(super) paused: bool,
    pub(super) paused_clients: [bool; 3],
    pub(super) holds: BTreeMap<usize, Held>,
    pub(super) served: BTreeMap<i64, i64>,
    /// What the wall clock shows.
    pub(super) now: i64,
    /// Steady minus wall time: what somebody set the clock back by.
    pub(super) set_back: i64,
    pub(super) events: usize,
}

impl Model {
    pub(super) fn of(&self, status: Status) -> Vec<usize> {
        (0..self.jobs.len()).filter(|job| self.jobs[*job].status == status).collect()
    }

    /// The queued jobs in their order.
    pub(super) fn queue(&self) -> Vec<usize> {
        let mut queued = self.of(Status::Queued);
        queued.sort_by_key(|job| (self.jobs[*job].rank, self.jobs[*job].turn, *job));
        queued
    }

    /// All that must end before a job that waits for `open` can start.
    pub(super) fn before(&self, open: &BTreeSet<usize>) -> BTreeSet<usize> {
        open.iter().flat_map(|job| self.before(&self.jobs[*job].waits)).chain(open.iter().copied()).collect()
    }

    /// A live job of the client on a branch that `branch` cannot exist beside: equal, or one a directory of the other.
    pub(super) fn in_the_way(&self, client: usize, branch: &str, except: &BTreeSet<usize>) -> bool {
        let parts: Vec<_> = branch.split('/').collect();
        let live = |at: &usize| self.jobs[*at].client == client && self.jobs[*at].status.is_live();
        (0..self.jobs.len()).filter(|at| live(at) && !except.contains(at)).map(|at| &self.jobs[at]).any(
            |job| {
                let others: Vec<_> = job.branch.split('/').collect();
                let common = parts.len().min(others.len());
                parts[..common] == others[..common]
            },
        )
    }

    pub(super) fn submit(
        &mut self,
        (client, branch): (usize, &str),
        priority: i8,
        login: usize,
        after: &[usize],
        run_at: Option<i64>,
    ) -> bool {
        let status = |job: &&usize| self.jobs[**job].status;
        let waits: BTreeSet<_> =
            after.iter().filter(|job| status(job) != Status::Completed).copied().collect();
        let failed = waits.iter().any(|job| !status(&job).is_live());
        let branch = branch.to_lowercase();
        let full = self.of(Status::Queued).len() >= LIMITS.queued_max as usize;
        if full || self.in_the_way(client, &branch, &self.before(&waits)) {
            return false;
        }
        let rank = -i64::from(priority);
        let own =
            self.jobs.iter().filter(|job| job.client == client && job.rank == rank && job.status.is_live());
        let after_own = own.map(|job| job.turn + 1).max().unwrap_or(0);
        let turn = after_own.max(self.served.get(&rank).copied().unwrap_or(0));
        self.jobs.push(Believed {
            client,
            branch,
            rank,
            turn,
            login,
            status: if failed { Status::Failed } else { Status::Queued },
            attempts: 0,
            counted: 0,
            tries: 0,
            not_before: None,
            run_at,
            waits: if failed { BTreeSet::new() } else { waits },
            cancel: false,
            agent: false,
        });
        self.events += 1 + usize::from(failed);
        true
    }

    /// What the end of a job means for those that wait for it.
    pub(super) fn over(&mut self, at: usize) {
        let status = self.jobs[at].status;
        self.jobs[at].waits.clear();
        for next in 0..self.jobs.len() {
            if !self.jobs[next].waits.remove(&at) || status == Status::Completed {
                continue;
            }
            self.leave(next, Status::Failed);
            self.events += 1;
            self.over(next);
        }
    }

    pub(super) fn running_of(&self, client: usize) -> usize {
        self.of(Status::Running).into_iter().filter(|job| self.jobs[*job].client == client).count()
    }

    /// Why a queued job may not go, slots apart.
    pub(super) fn obstacle(&self, at: usize) -> Option<Waiting> {
        let job = &self.jobs[at];
        let waiting = |for_, until: Option<i64>| {
            Some(Waiting { for_, window: None, until: until.map(Timestamp::from_ms) })
        };
        if self.paused || self.paused_clients[job.client] {
            return waiting(WaitingFor::Paused, None);
        }
        if !job.waits.is_empty() {
            return waiting(WaitingFor::Dependency, None);
        }
        if let Some(until) = job.run_at.filter(|until| *until > self.now) {
            return waiting(WaitingFor::RunAt, Some(until));
        }
        if let Some(held) = self.holds.get(&job.login) {
            let until = self.first(held);
            let due = held.probe.is_none() && until.is_some_and(|until| until <= self.now);
            if !due {
                return waiting(held.for_, until);
            }
        }
        if let Some(until) = job.not_before.map(|at| at - self.set_back).filter(|until| *until > self.now) {
            return waiting(WaitingFor::Backoff, Some(until));
        }
        if self.running_of(job.client) >= LIMITS.running_per_client_max.unwrap_or(u32::MAX) as usize {
            return waiting(WaitingFor::ClientLimit, None);
        }
        None
    }

    /// When a hold ends, as the wall clock shows it now: whichever of its two ends comes first.
    pub(super) fn first(&self, held: &Held) -> Option<i64> {
        held.until.map(|(wall, steady)| wall.min(steady - self.set_back))
    }

    fn steady(&self) -> i64 {
        self.now + self.set_back
    }

    pub(super) fn claim(&mut self) -> Option<usize> {
        if self.of(Status::Running).len() >= LIMITS.running_max as usize {
            return None;
        }
        // the first client that has one which may go, and of that client the first
        let queue = self.queue();
        let next = queue.iter().find_map(|job| {
            self.beside(*job).into_iter().find(|of_client| self.obstacle(*of_client).is_none())
        })?;
        self.take_turn(next);
        let job = &mut self.jobs[next];
        job.status = Status::Running;
        job.attempts += 1;
        job.not_before = None;
        job.agent = false;
        if let Some(held) = self.holds.get_mut(&self.jobs[next].login) {
            held.probe = Some(next);
        }
        self.events += 1;
        Some(next)
    }

    /// The queued jobs of its client and priority, in the order of their numbers.
    fn beside(&self, at: usize) -> Vec<usize> {
        let mut beside = self.of(Status::Queued);
        beside.retain(|job| self.jobs[*job].client == self.jobs[at].client);
        beside.retain(|job| self.jobs[*job].rank == self.jobs[at].rank);
        beside
    }

    /// What turns these jobs have together, lowest first.
    fn turns(&self, of: &[usize]) -> Vec<i64> {
        let mut turns: Vec<_> = of.iter().map(|job| self.jobs[*job].turn).collect();
        turns.sort_unstable();
        turns
    }

    /// The job pays with the first turn of its client; no other of its jobs has a turn that is served already.
    fn take_turn(&mut self, at: usize) {
        let mut others = self.beside(at);
        let turns = self.turns(&others);
        others.retain(|job| *job != at);
        self.jobs[at].turn = turns[0];
        let served = self.served.entry(self.jobs[at].rank).or_insert(turns[0]);
        *served = turns[0].max(*served);
        for ((job, turn), at_least) in others.into_iter().zip(&turns[1..]).zip(*served + 1..) {
            self.jobs[job].turn = at_least.max(*turn);
        }
    }

    /// Queued again, a job goes where its number says.
    fn give_turn_back(&mut self, at: usize) {
        let beside = self.beside(at);
        for (job, turn) in beside.iter().zip(self.turns(&beside)) {
            self.jobs[*job].turn = turn;
        }
    }

    /// A queued job that goes for good leaves its turn to the next one.
    pub(super) fn leave(&mut self, at: usize, status: Status) {
        let mut others = self.beside(at);
        let turns = self.turns(&others);
        others.retain(|job| *job != at);
        for (job, turn) in others.into_iter().zip(turns) {
            self.jobs[job].turn = turn;
        }
        self.jobs[at].status = status;
    }

    pub(super) fn finish(&mut self, at: usize, end: End) {
        self.events += 1;
        let steady = self.steady();
        let job = &mut self.jobs[at];
        let fault = matches!(end, End::Limit(_) | End::LoggedOut) && !job.cancel;
        job.status = match end {
            End::Done => Status::Completed,
            End::Cancelled => Status::Cancelled,
            _ if job.cancel => Status::Cancelled,
            End::Failed => Status::Failed,
            End::Stopped | End::Limit(_) | End::LoggedOut => Status::Queued,
            End::Away => {
                job.tries += 1;
                let wait = (15_000 << (job.tries - 1)).min(1_800_000);
                job.not_before = (job.tries <= 8).then_some(steady + wait);
                if job.tries <= 8 { Status::Queued } else { Status::Failed }
            }
            End::Crashed => {
                job.counted += 1;
                if job.counted < 3 { Status::Queued } else { Status::Failed }
            }
        };
        let login = job.login;
        // only what a model has answered shows that the login works
        let works = end == End::Done || job.agent;
        if fault {
            let (for_, until) = match end {
                End::Limit(seconds) => {
                    // one that is over by our clock is looked at in a minute
                    let ms = if seconds > 0 { seconds * 1_000 } else { 60_000 };
                    (WaitingFor::UsageLimit, Some((self.now + ms, steady + ms)))
                }
                _ => (WaitingFor::Login, None),
            };
            // of two limits the one that ends later counts, unless who was sent to look knows better
            let until = match self.holds.get(&login) {
                Some(held) if [held.for_, for_] == [WaitingFor::UsageLimit; 2] && held.probe != Some(at) => {
                    let later =
                        held.until.zip(until).filter(|(known, new)| known.0 > new.0 && known.1 > new.1);
                    later.map_or(until, |(known, _)| Some(known))
                }
                _ => until,
            };
            let other_probe = self.holds.get(&login).and_then(|held| held.probe).filter(|probe| *probe != at);
            self.holds.insert(login, Held { for_, until, probe: other_probe });
        } else if self.holds.get(&login).is_some_and(|held| held.probe == Some(at)) {
            if works {
                self.holds.remove(&login);
            } else if let Some(held) = self.holds.get_mut(&login) {
                held.probe = None;
            }
        }
        match self.jobs[at].status {
            Status::Queued => self.give_turn_back(at),
            _ => self.over(at),
        }
    }

    pub(super) fn try_now(&mut self, login: Option<usize>) {
        for (of, held) in &mut self.holds {
            if held.probe.is_none() && login.is_none_or(|login| login == *of) {
                held.until = Some((self.now, self.now + self.set_back));
            }
        }
    }

    pub(super) fn next_due_in(&self) -> Option<Duration> {
        let times =
            |job: usize| [self.jobs[job].not_before.map(|at| at - self.set_back), self.jobs[job].run_at];
        let queued = self.of(Status::Queued).into_iter().flat_map(times).flatten();
        let holds =
            self.holds.values().filter(|held| held.probe.is_none()).filter_map(|held| self.first(held));
        let next = queued.chain(holds).filter(|at| *at > self.now).min()?;
        Some(Duration::from_millis(u64::try_from(next - self.now).unwrap()))
    }
}
