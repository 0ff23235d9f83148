//! What an onlooker believes about the jobs, and what follows from it: who may start, who must, who must not.

use offshoot::domain::job::Status;
use tokio::time::Instant;

use super::actor::End;
use super::world::{REPAIRED, RUNNING_MAX, RUNNING_PER_CLIENT_MAX, State};

/// Of one job.
#[derive(Clone, Debug)]
pub(super) struct Belief {
    pub(super) client: usize,
    /// In lower case.
    pub(super) branch: String,
    pub(super) priority: i8,
    pub(super) login: usize,
    pub(super) after: Vec<i64>,
    pub(super) run_at: Option<i64>,
    pub(super) status: Status,
    pub(super) attempt: u32,
    pub(super) counted: u32,
    pub(super) tries: u32,
    /// The end of its backoff: in true time, and by what the server surely knows.
    pub(super) backoff: Option<(i64, i64)>,
    /// It has its commit: no agent is needed any more.
    pub(super) committed: bool,
    pub(super) cancel: bool,
    pub(super) has_callback: bool,
    /// When it was accepted, requeued, or released by what it waited for.
    pub(super) changed_at: Instant,
    /// It could have started at every look since then.
    pub(super) ready_since: Option<Instant>,
}

impl Belief {
    pub(super) fn is_in_the_way_of(&self, branch: &str) -> bool {
        let below =
            |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('/'));
        self.branch == branch || below(&self.branch, branch) || below(branch, &self.branch)
    }
}

/// Of one login.
#[derive(Clone, Debug, Default)]
pub(super) struct Login {
    /// Its limit is over at this wall time of a clock that is right, in ms since the beginning.
    pub(super) limited_until_ms: Option<i64>,
    pub(super) dead: bool,
    pub(super) missing: bool,
    pub(super) hold: Option<Held>,
    /// Starts that met its limit.
    pub(super) refused: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// Its end: on the wall clock, in true time, and by what the server surely knows.
    pub(super) until: Option<(i64, i64, i64)>,
    pub(super) probe: Option<i64>,
    /// A limit, and not a login that does not work.
    pub(super) limit: bool,
    /// The server looks by itself whether the program is there by now.
    pub(super) looked_after: bool,
}

/// The end of an attempt, as a worker asked the store to write it.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) end: End,
    /// The end of the limit that the agent told, on the server's wall clock.
    pub(super) told: Option<i64>,
}

impl State {
    /// Whether the job may start, by all but slots; with `surely`, whether the server cannot but know it.
    fn is_free(&self, number: i64, surely: bool) -> bool {
        let job = &self.jobs[&number];
        // the two clocks of the server agree to within two milliseconds
        let (wall, now) = (self.clocks.wall_ms(), self.clocks.true_ms + self.clocks.unseen_ms + 2);
        let backoff = job.backoff.is_none_or(
            |(due, sure)| {
                if surely { sure <= self.clocks.sure_ms } else { due <= now }
            },
        );
        let held = self.logins[job.login].hold.filter(|_| !job.committed);
        let login = held.is_none_or(|held| {
            let over = held.until.is_some_and(|(at, due, sure)| {
                at <= wall || if surely { sure <= self.clocks.sure_ms } else { due <= now }
            });
            // the server may have found the program by itself, but one that is out as a probe it leaves alone
            held.probe.is_none() && (over || (held.looked_after && !surely))
        });
        job.status == Status::Queued
            && backoff
            && login
            && !self.paused
            && !self.paused_clients[job.client]
            && job.run_at.is_none_or(|at| at <= wall)
            && job.after.iter().all(|other| self.jobs[other].status == Status::Completed)
    }

    /// Looks at every queued job: one that could start for longer than a lost hint may cost has been forgotten.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        let slots = self.of(Status::Running).count() < RUNNING_MAX;
        self.free_since = if slots { self.free_since.or(Some(now)) } else { None };
        for number in self.of(Status::Queued).map(|(number, _)| number).collect::<Vec<_>>() {
            let ready = self.is_free(number, true)
                && self.running_of(self.jobs[&number].client) < RUNNING_PER_CLIENT_MAX;
            let job = self.jobs.get_mut(&number).unwrap();
            job.ready_since = if ready { job.ready_since.or(Some(now)) } else { None };
            let waits_since = job.ready_since.zip(self.free_since).map(|(a, b)| a.max(b));
            if waits_since.is_some_and(|since| now - since > REPAIRED) {
                self.fault(format!("job {number} could have started and has been forgotten"));
            }
        }
    }

    /// A worker was given the job.
    pub(super) fn assigned(&mut self, number: i64, attempt: u32, adopted: bool) {
        let Some(job) = self.jobs.get(&number).cloned() else {
            return self.fault(format!("job {number} is unknown"));
        };
        if adopted && job.status == Status::Running && job.attempt == attempt {
            return;
        }
        self.tell(|| format!("job {number} attempt {attempt} claimed (adopted {adopted})"));
        if job.status != Status::Queued || attempt != job.attempt + 1 {
            self.fault(format!("job {number} is claimed as {attempt}, and was {job:?}"));
        }
        if !adopted {
            self.judge_claim(number);
        }
        let served = (job.client, job.priority);
        let before = self.served.get(&served).map(|(last, _)| *last);
        self.served.insert(served, (Instant::now(), before));
        if let Some(held) = self.logins[job.login].hold.as_mut().filter(|_| !job.committed) {
            held.probe = Some(number);
        }
        let job = self.jobs.get_mut(&number).unwrap();
        job.status = Status::Running;
        job.attempt = attempt;
        job.backoff = None;
        job.ready_since = None;
    }

    fn judge_claim(&mut self, number: i64) {
        let now = Instant::now();
        let job = self.jobs[&number].clone();
        // somebody may have paused or set something after the claim and before its worker began
        let just_now = self.changed_at == now || self.clocks.set_at == Some(now);
        if !just_now && !self.is_free(number, false) {
            self.fault(format!("job {number} starts too early: {job:?} {:?}", self.logins[job.login]));
        }
        if self.of(Status::Running).count() >= RUNNING_MAX
            || self.running_of(job.client) >= RUNNING_PER_CLIENT_MAX
        {
            self.fault(format!("job {number} starts beyond a limit"));
        }
        // those that have been ready at every look, and are so still
        let ready: Vec<_> = self
            .of(Status::Queued)
            .filter(|(other, of)| {
                *other != number
                    && of.ready_since.is_some_and(|since| since < now)
                    && self.is_free(*other, true)
                    && self.running_of(of.client) < RUNNING_PER_CLIENT_MAX
            })
            .map(|(other, of)| (other, of.clone()))
            .collect();
        for (other, of) in ready {
            let same_line = of.client == job.client && of.priority == job.priority;
            if of.priority > job.priority || (same_line && other < number) {
                self.fault(format!("job {number} goes before {other}, which was ready"));
            }
            self.judge_turn(number, other, &of);
        }
    }

    /// Round robin: nobody is served a third time while another one's only job waits; twice it can be, at the end of one
    /// round and at the beginning of the next. A job that is tried again goes on with the turn that it had.
    fn judge_turn(&mut self, number: i64, other: i64, of: &Belief) {
        let job = self.jobs[&number].clone();
        if job.attempt > 0 {
            return;
        }
        let alone = self
            .jobs
            .values()
            .filter(|job| job.status.is_live() && job.client == of.client && job.priority == of.priority);
        let served = self.served.get(&(job.client, job.priority)).and_then(|(_, before)| *before);
        let waits = of.ready_since.zip(served);
        if of.client != job.client
            && of.priority == job.priority
            && alone.count() == 1
            && waits.is_some_and(|(since, served)| {
                let own = self.served.get(&(of.client, of.priority)).map(|(last, _)| *last);
                since < served && of.changed_at < served && own.is_none_or(|own| own < served)
            })
        {
            self.fault(format!("job {number} goes before {other}, whose client waits longer"));
        }
    }

    /// What an end that is written means; the same rules as the product's, told once more.
    pub(super) fn ended(&mut self, number: i64, attempt: u32, ending: &Ending) {
        self.tell(|| format!("job {number} attempt {attempt} ended: {ending:?}"));
        let (true_ms, sure_ms, wall) = (self.clocks.true_ms, self.clocks.sure_ms, self.clocks.wall_ms());
        let job = self.jobs.get_mut(&number).unwrap();
        let login = job.login;
        let (cancel, before) = (job.cancel, job.status);
        job.changed_at = Instant::now();
        job.status = match ending.end {
            End::Done | End::NoChanges => Status::Completed,
            End::Cancelled => Status::Cancelled,
            _ if cancel => Status::Cancelled,
            End::Failed | End::Panicked => Status::Failed,
            End::Unspent | End::Stopped | End::Limit | End::LoggedOut | End::Missing => Status::Queued,
            End::Crashed | End::Interrupted => {
                job.counted += 1;
                if job.counted < 3 { Status::Queued } else { Status::Failed }
            }
            End::Overloaded | End::Away => {
                job.tries += 1;
                let wait = (15_000_i64 << (job.tries - 1)).min(1_800_000);
                job.backoff = Some((true_ms + wait, sure_ms + wait));
                if job.tries <= 8 { Status::Queued } else { Status::Failed }
            }
        };
        let holds = matches!(ending.end, End::Limit | End::LoggedOut | End::Missing) && !cancel;
        let probe = self.logins[login].hold.and_then(|held| held.probe);
        if holds {
            let wait = match (ending.end, ending.told) {
                (End::Limit, None) => Some(1_800_000),
                (End::Limit, Some(at)) if at > wall => Some((at - wall).min(8 * 86_400_000)),
                (End::Limit, Some(_)) => Some(60_000),
                _ => None,
            };
            let until = wait.map(|wait| (wall + wait, true_ms + wait, sure_ms + wait));
            let limit = ending.end == End::Limit;
            // of two limits the one that ends later counts, unless who was sent to look knows better
            let known =
                self.logins[login].hold.filter(|held| limit && held.limit && held.probe != Some(number));
            let until = match (known.and_then(|held| held.until), until) {
                (Some((at, due, sure)), Some(new)) => {
                    Some(later((at, due - self.clocks.unseen_ms, sure), new))
                }
                (_, until) => until,
            };
            let probe = probe.filter(|probe| *probe != number);
            let looked_after = ending.end == End::Missing;
            self.logins[login].hold = Some(Held { until, probe, limit, looked_after });
        } else if probe == Some(number) {
            // only an answer of the model shows that the login works; nobody says here that a program has run
            let looked_after = self.logins[login].hold.is_some_and(|held| held.looked_after);
            let works = self.jobs[&number].committed
                || matches!(ending.end, End::Done | End::NoChanges)
                || (!looked_after && self.answered.contains(&(number, attempt)));
            match &mut self.logins[login].hold {
                Some(held) if !works => held.probe = None,
                hold => *hold = None,
            }
        }
        if before != Status::Running {
            self.fault(format!("job {number} ends and was {before}"));
        }
        self.follow(number);
    }

    /// Somebody says try-now: the hold is due, unless its probe is out.
    pub(super) fn lift(&mut self, login: usize) {
        let now = (self.clocks.wall_ms(), self.clocks.true_ms, self.clocks.sure_ms);
        if let Some(held) = self.logins[login].hold.as_mut().filter(|held| held.probe.is_none()) {
            held.until = Some(now);
        }
    }

    /// The server was away: what was ready is counted anew.
    pub(super) fn forget_ready(&mut self) {
        self.free_since = None;
        for job in self.jobs.values_mut() {
            job.ready_since = None;
        }
    }

    /// How far the last job's time is away on the wall clock.
    pub(super) fn last_run_at(&self) -> Option<i64> {
        let wall = self.clocks.wall_ms();
        self.of(Status::Queued)
            .filter_map(|(_, job)| job.run_at)
            .map(|at| at - wall)
            .max()
            .filter(|ms| *ms > 0)
    }

    /// What the end of a job means for those that wait for it.
    pub(super) fn follow(&mut self, number: i64) {
        let status = self.jobs[&number].status;
        if status.is_live() {
            return;
        }
        let waiting: Vec<_> = self
            .of(Status::Queued)
            .filter(|(_, job)| job.after.contains(&number))
            .map(|(other, _)| other)
            .collect();
        for other in waiting {
            let job = self.jobs.get_mut(&other).unwrap();
            job.changed_at = Instant::now();
            if status != Status::Completed {
                job.status = Status::Failed;
                self.follow(other);
            }
        }
    }
}

/// The later of two ends. Where the server may count the first one differently, both are possible: as early as the one in true
/// time, as late as the other for sure.
fn later(known: (i64, i64, i64), new: (i64, i64, i64)) -> (i64, i64, i64) {
    if known.0 > new.0 && known.1.min(known.2) > new.1.max(new.2) {
        return known;
    }
    if known.0 <= new.0 || known.1.max(known.2) <= new.1.min(new.2) {
        return new;
    }
    (known.0.max(new.0), known.1.min(new.1), known.2.max(new.2))
}
