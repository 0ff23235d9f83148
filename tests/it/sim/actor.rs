//! The runner in place of the worker: walks a job through its phases as the worker does, with agents that are lines in
//! the world's table of processes.

use std::sync::Arc;
use std::time::Duration;

use offshoot::domain::attempt::{Assignment, AttemptEnd, Lease};
use offshoot::domain::delivery::RenderedCallback;
use offshoot::domain::id::{DeliveryId, EventId, JobNumber};
use offshoot::domain::job::{Effects, JobView, Outcome, Phase, Usage};
use offshoot::domain::reason::{Reason, ReasonCode};
use offshoot::domain::time::Timestamp;
use offshoot::store::{Store, StoreError};
use offshoot::wire::callback::render_callback;
use offshoot::worker::{Runner, Signals};
use tokio::time::{Instant, sleep, sleep_until};

use super::beliefs::Ending;
use super::dice::Dice;
use super::settled::Settled;
use super::world::{Process, State, World};
use crate::store_fixture::NOW_MS;

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    NoChanges,
    Failed,
    Crashed,
    /// Gone with the machine.
    Interrupted,
    /// Cut off before anything was spent.
    Unspent,
    Stopped,
    /// The login has reached its limit.
    Limit,
    LoggedOut,
    Missing,
    Overloaded,
    /// The remote is away when the commit is pushed.
    Away,
    Cancelled,
    Panicked,
}

#[derive(Clone)]
pub(super) struct Actor {
    pub(super) world: Arc<World>,
    pub(super) store: Store,
}

/// What chance has in store for one attempt; the same after a crash.
struct Fate {
    dice: Dice,
    /// The worker leaves without an end, as on a full disk, or panics.
    leaves: bool,
    panics: bool,
    away: bool,
}

impl Runner for Actor {
    fn run(&self, assignment: Assignment, signals: Signals) -> impl Future<Output = ()> + Send {
        let actor = self.clone();
        Settled::new(&self.world, async move { actor.walk(assignment, signals).await })
    }

    /// Called by the dispatcher, whose step this is a part of.
    async fn give_up(&self, lease: Lease) {
        self.world.state().kill(lease.job.0, lease.attempt);
        self.finish(lease, End::Panicked).await;
    }

    /// Nobody visits here.
    async fn end_visit(&self, _job: JobNumber) {}

    async fn sweep(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn sweep_of(&self, _job: JobNumber) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Actor {
    async fn walk(&self, assignment: Assignment, signals: Signals) {
        let lease = assignment.lease;
        let (number, attempt) = (lease.job.0, lease.attempt);
        self.world.state().assigned(number, attempt, assignment.adopted);
        if assignment.job.cancel_requested_at.is_some() {
            signals.cancel.cancel();
        }
        let fate = self.fate(number, attempt, lease.epoch, assignment.adopted);
        let end = if assignment.job.effects.head_sha.is_some() {
            Some(End::Done)
        } else {
            match self.follow_agent(lease, &signals, &fate).await {
                Ok(end) => end,
                Err(error) => return self.odd(lease, &error),
            }
        };
        let Some(end) = end else { return };
        let published = match end {
            End::Done if signals.cancel.is_cancelled() => Ok(Some(End::Cancelled)),
            End::Done => self.publish(lease, &signals, &fate).await,
            other => Ok(Some(other)),
        };
        match published {
            Ok(Some(end)) => self.finish(lease, end).await,
            Ok(None) => {}
            Err(error) => self.odd(lease, &error),
        }
    }

    fn fate(&self, number: i64, attempt: u32, epoch: i64, adopted: bool) -> Fate {
        let mix = number.unsigned_abs() * 1_000 + u64::from(attempt);
        let dice = Dice::new(self.world.seed ^ (mix << 20));
        let calm = self.world.state().calm;
        // a worker that takes an attempt up again has more luck, else it never ends
        let again = Dice::new(self.world.seed ^ (mix << 20) ^ epoch.unsigned_abs());
        let unlucky = !calm && !adopted;
        Fate {
            leaves: unlucky && again.percent(5),
            panics: unlucky && again.percent(3),
            away: !calm && dice.percent(12),
            dice,
        }
    }

    /// Prepares and starts the agent, or finds the one that was started; how it ended. `None`: the server leaves.
    async fn follow_agent(
        &self,
        lease: Lease,
        signals: &Signals,
        fate: &Fate,
    ) -> Result<Option<End>, StoreError> {
        let key = (lease.job.0, lease.attempt);
        let known = self.world.state().processes.contains_key(&key);
        if !known {
            self.store.reach_phase(lease, Phase::Preparing).await?;
            let preparing = Duration::from_millis(fate.dice.below(20_000));
            tokio::select! {
                biased;
                () = signals.cancel.cancelled() => return Ok(Some(End::Cancelled)),
                () = signals.shutdown.cancelled() => return Ok(None),
                () = sleep(preparing) => {}
            }
            self.store.begin_step(lease, "agent-1").await?;
            self.store.reach_phase(lease, Phase::Agent).await?;
            if signals.cancel.is_cancelled() {
                return Ok(Some(End::Cancelled));
            }
            let process = self.world.state().plan(key.0, fate);
            self.world.state().launch(key.0, key.1, process);
        }
        if fate.panics {
            // without the message of a panic that somebody should look at
            std::panic::resume_unwind(Box::new("a bug"));
        }
        if fate.leaves {
            self.world.state().tell(|| format!("job {} attempt {}: its worker leaves", key.0, key.1));
            return Ok(None);
        }
        let process = self.world.state().processes[&key].clone();
        tokio::select! {
            biased;
            () = signals.cancel.cancelled() => {
                self.world.state().kill(key.0, key.1);
                return Ok(Some(End::Cancelled));
            }
            () = signals.stop_agents.cancelled() => {
                self.world.state().kill(key.0, key.1);
                return Ok(Some(End::Stopped));
            }
            () = signals.shutdown.cancelled() => return Ok(None),
            () = sleep_until(process.ends_at), if !process.dead => {}
            () = std::future::ready(()), if process.dead => return Ok(Some(End::Interrupted)),
        }
        if process.answered {
            let usage = Usage { output_tokens: 1, ..Usage::default() };
            self.store.record_usage(lease, "agent-1", None, usage).await?;
            self.world.state().answered.insert(key);
        }
        Ok(Some(process.end))
    }

    /// Commits and pushes; what is there stays there.
    async fn publish(&self, lease: Lease, signals: &Signals, fate: &Fate) -> Result<Option<End>, StoreError> {
        self.store.reach_phase(lease, Phase::Committing).await?;
        let commit = Effects { head_sha: Some("c0ffee".to_owned()), ..Effects::default() };
        self.store.record_effects(lease, commit).await?;
        self.world.state().jobs.get_mut(&lease.job.0).unwrap().committed = true;
        self.store.reach_phase(lease, Phase::Pushing).await?;
        sleep(Duration::from_millis(fate.dice.below(3_000))).await;
        if signals.shutdown.is_cancelled() {
            return Ok(None);
        }
        Ok(Some(if fate.away { End::Away } else { End::Done }))
    }

    async fn finish(&self, lease: Lease, end: End) {
        let (reason, spent) = match end {
            End::Done | End::NoChanges | End::Cancelled => (None, true),
            End::Failed => (Some(ReasonCode::VerifyFailed), true),
            End::Crashed => (Some(ReasonCode::Crashed), true),
            End::Interrupted => (Some(ReasonCode::Interrupted), true),
            End::Unspent => (Some(ReasonCode::Interrupted), false),
            End::Stopped => (Some(ReasonCode::Stopped), true),
            End::Limit => (Some(ReasonCode::UsageLimit), true),
            End::LoggedOut => (Some(ReasonCode::NotLoggedIn), true),
            End::Missing => (Some(ReasonCode::AgentMissing), false),
            End::Overloaded => (Some(ReasonCode::Overloaded), true),
            End::Away => (Some(ReasonCode::RemoteUnavailable), true),
            End::Panicked => (Some(ReasonCode::Internal), true),
        };
        let told = self.world.state().begin_ending(lease, end);
        let attempt_end = match (reason, end) {
            (Some(code), _) => AttemptEnd::Faulted {
                reason: Reason::new(code, ""),
                until: told.map(Timestamp::from_ms),
                window: None,
                spent,
            },
            (None, End::NoChanges) => AttemptEnd::Completed { outcome: Outcome::NoChanges },
            (None, End::Cancelled) => AttemptEnd::Cancelled,
            (None, _) => AttemptEnd::Completed { outcome: Outcome::BranchPushed },
        };
        let clock = self.world.clock.clone();
        let written = self.store.finish(lease, attempt_end, move |view| render(&clock, view)).await;
        let mut state = self.world.state();
        match written {
            Ok(view) => state.compare(&view),
            Err(error) => state.fault(format!("{lease:?} could not be ended as {end:?}: {error}")),
        }
    }

    /// No worker of a server that lives loses its lease or meets another error.
    fn odd(&self, lease: Lease, error: &StoreError) {
        self.world.state().fault(format!("{lease:?}: {error}"));
    }
}

/// The callback's bytes, as the worker renders them.
pub(super) fn render(clock: &offshoot::clock::Clock, view: &JobView) -> Option<RenderedCallback> {
    let event = EventId::from_random(&clock.random_text(16));
    let delivery = DeliveryId::from_random(&clock.random_text(16));
    render_callback(view, event, delivery, Timestamp::from_ms(clock.now_ms()))
}

impl State {
    pub(super) fn kill(&mut self, job: i64, attempt: u32) {
        if let Some(process) = self.processes.get_mut(&(job, attempt)) {
            process.dead = true;
        }
    }

    /// What the agent of this attempt will do.
    fn plan(&mut self, job: i64, fate: &Fate) -> Process {
        let now_ms = self.clocks.true_ms;
        let calm = self.calm;
        let login = &mut self.logins[self.jobs[&job].login];
        login.limited_until_ms = login.limited_until_ms.filter(|until| *until > now_ms);
        let dice = &fate.dice;
        let chance = if calm { 0 } else { dice.below(100) };
        let (end, ms) = if login.missing {
            (End::Missing, 10)
        } else if login.dead {
            (End::LoggedOut, 1_000)
        } else if login.limited_until_ms.is_some() {
            login.refused += 1;
            (End::Limit, 2_000)
        } else {
            let ms = if dice.percent(30) { dice.below(1_200_000) } else { dice.below(60_000) };
            let end = match chance {
                0..45 => End::Done,
                45..55 => End::NoChanges,
                55..62 => End::Failed,
                62..72 => End::Crashed,
                72..77 => End::Unspent,
                77..85 => {
                    let until = now_ms + dice.between(60_000, 6 * 3_600_000);
                    login.limited_until_ms = Some(until);
                    End::Limit
                }
                85..93 => End::Overloaded,
                93..97 => {
                    login.dead = true;
                    End::LoggedOut
                }
                _ => {
                    login.missing = true;
                    End::Missing
                }
            };
            (end, ms)
        };
        let answered = match end {
            End::Done | End::NoChanges => true,
            End::Failed | End::Crashed | End::Overloaded => calm || dice.percent(60),
            _ => false,
        };
        Process { ends_at: Instant::now() + Duration::from_millis(ms), end, dead: false, answered }
    }

    /// Notes what a worker is about to write; gives what the agent told of the end of its limit, if it did.
    fn begin_ending(&mut self, lease: Lease, end: End) -> Option<i64> {
        let login = &self.logins[self.jobs[&lease.job.0].login];
        // every third does not say when its limit ends
        let tells = end == End::Limit && lease.job.0 % 3 != 0;
        let told = tells.then(|| NOW_MS + login.limited_until_ms.unwrap_or(self.clocks.true_ms));
        self.endings.insert((lease.job.0, lease.attempt), Ending { end, told });
        told
    }

    fn compare(&mut self, view: &JobView) {
        let (number, status) = (view.job.number.0, view.job.status);
        let believed = self.jobs[&number].clone();
        let counts = (view.job.attempt, view.job.attempts_counted, view.job.backoff_tries);
        if (believed.status, believed.attempt) != (status, counts.0)
            || (status.is_live() && (believed.counted, believed.tries) != (counts.1, counts.2))
        {
            self.fault(format!("job {number} is {status} {counts:?}, and was to be {believed:?}"));
        }
    }
}
