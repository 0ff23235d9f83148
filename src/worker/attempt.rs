//! The line itself: which phase comes next, and where a line that was left is entered again.

use std::path::PathBuf;

use tokio::time::Instant;
use tracing::Instrument as _;

use super::halt::{Halt, Step};
use super::inside::Walls;
use super::steps::FIRST_TURN;
use super::{Signals, Tools, Worker, sweep_worktree_of};
use crate::agent::AgentVerdict;
use crate::domain::attempt::{Assignment, AttemptEnd, Lease};
use crate::domain::client::Client;
use crate::domain::delivery::RenderedCallback;
use crate::domain::id::{DeliveryId, EventId, RANDOM_LENGTH};
use crate::domain::job::{Effects, Job, JobView, Outcome, Phase, Start, Status};
use crate::domain::options::{EffectiveOptions, Publish, RunOptions};
use crate::domain::reason::{Reason, ReasonCode};
use crate::domain::retry::how_far;
use crate::domain::time::Timestamp;
use crate::git::{CommitId, GiveUp, InUse};
use crate::metrics;
use crate::wire::callback::render_callback;

/// One walk along the line. What is written here is also in the store.
pub(super) struct Line<'a> {
    pub(super) tools: &'a Tools,
    pub(super) signals: &'a Signals,
    pub(super) lease: Lease,
    pub(super) job: Job,
    pub(super) client: Client,
    pub(super) options: EffectiveOptions,
    pub(super) walls: Walls,
    /// An earlier server, or an earlier worker of this one, began the attempt.
    pub(super) adopted: bool,
    /// Its agent was ended for taking too much of the machine: not all of that is kept.
    pub(super) ran_away: bool,
    /// That the agent does not go on with its conversation is said.
    pub(super) left_conversation: bool,
    /// Keeps maintenance out of the clone for the whole attempt.
    pub(super) clone_used: Option<InUse>,
    /// Of the phase that this walk has come to by itself.
    pub(super) phase_time: Option<PhaseTime>,
}

/// Counted when the next phase begins or the walk is over.
pub(super) struct PhaseTime {
    phase: Phase,
    since: Instant,
}

impl Drop for PhaseTime {
    fn drop(&mut self) {
        metrics::PHASES.observe(self.since.elapsed(), [self.phase.as_str()]);
    }
}

impl Worker {
    /// Walks the line from where the job is. Returns when the attempt has ended, or when this server may not or need
    /// not go on with it; every outcome is in the store by then.
    pub async fn run(&self, assignment: Assignment, signals: Signals) {
        let number = assignment.lease.job.0;
        let span = tracing::info_span!("attempt", job.id = %assignment.job.id, job.number = number,
            attempt = assignment.lease.attempt);
        Box::pin(self.walk(assignment, signals)).instrument(span).await;
    }

    /// Ends an attempt whose walk panicked, and its agent before it: a bug of ours must not leave the job running for ever. While
    /// the agent cannot be ended, the attempt is not over either, and is taken up again.
    pub async fn give_up(&self, lease: Lease) {
        if let Err(halt) = self.0.end_steps(lease).await {
            tracing::error!(?halt, job.number = lease.job.0, "the agent of a panicked attempt may live");
            return;
        }
        let reason = Reason::new(ReasonCode::Internal, "The worker panicked.");
        self.0.finish(lease, AttemptEnd::Faulted { reason, until: None, window: None, spent: true }).await;
    }

    async fn walk(&self, assignment: Assignment, signals: Signals) {
        let tools = &*self.0;
        if assignment.job.cancel_requested_at.is_some() {
            signals.cancel.cancel();
        }
        tracing::info!(adopted = assignment.adopted, "attempt started");
        let (lease, job_id) = (assignment.lease, assignment.job.id.clone());
        let mut sweeps = false;
        let end = match Line::begin(tools, &signals, assignment).await {
            Ok(mut line) => {
                let walked = line.walk().await;
                sweeps = line.is_judged_by_worktree();
                line.end(walked).await
            }
            Err(halt) => Err(halt),
        };
        match end {
            Ok(end) | Err(Halt::Ended(end)) => {
                tools.finish(lease, end).await;
                if sweeps && let Err(error) = sweep_worktree_of(self, lease.job).await {
                    tracing::warn!(%error, "the worktree is swept later");
                }
            }
            Err(Halt::Shutdown) => tracing::info!("left to the next server"),
            Err(Halt::Unfollowed(reason)) => {
                tracing::warn!(%reason.code, reason.message, "the agent cannot be followed; it is left alone for now");
            }
            Err(Halt::NoRoom) => tracing::warn!("the disk is full: what the agent has done waits for room"),
            Err(Halt::LeaseLost) => tracing::warn!(job.id = %job_id, "lease lost: somebody else has the job"),
            Err(Halt::Store(error)) => tracing::error!(%error, "the store does not answer"),
        }
    }
}

impl Tools {
    async fn finish(&self, lease: Lease, end: AttemptEnd) {
        let clock = self.clock.clone();
        let render = move |view: &JobView| render(&clock, view);
        match self.store.finish(lease, end, render).await {
            Ok(view) => {
                let job = &view.job;
                let reason = job.reason.as_ref().map_or("", |reason| reason.code.as_str());
                let outcome = job.outcome.map_or("", Outcome::as_str);
                tracing::info!(status = %job.status, outcome, reason, "attempt ended");
            }
            Err(error) => tracing::error!(%error, "the end of the attempt could not be stored"),
        }
    }
}

/// The callback's bytes, with fresh ids.
pub(super) fn render(clock: &crate::clock::Clock, view: &JobView) -> Option<RenderedCallback> {
    let event = EventId::from_random(&clock.random_text(RANDOM_LENGTH));
    let delivery = DeliveryId::from_random(&clock.random_text(RANDOM_LENGTH));
    render_callback(view, event, delivery, Timestamp::from_ms(clock.now_ms()))
}

/// What the attempt runs with, to its end: an owner who changes the client or the configuration meanwhile does not change
/// which commands of it have run already.
async fn options_of(tools: &Tools, assignment: &Assignment, client: &Client) -> Step<(RunOptions, Walls)> {
    if assignment.adopted {
        let attempts = tools.store.list_attempts(assignment.lease.job).await?;
        let stored = attempts.into_iter().find(|attempt| attempt.number == assignment.lease.attempt);
        if let Some(stored) = stored.filter(|attempt| !attempt.options.set_names().is_empty()) {
            let walls = tools.walls_of(&stored.isolation, &stored.options);
            return Ok((stored.options, walls));
        }
    }
    let own = assignment.job.request.own_options();
    let layers = [&own, &client.options, &tools.settings.defaults];
    let farthest = if tools.forge.is_some() { Publish::PullRequest } else { Publish::Branch };
    let publish = how_far(&assignment.job.start, &layers, farthest);
    let options = RunOptions { publish, ..RunOptions::merge(&layers) };
    let walls = tools.walls_for(&options).await;
    Ok((options, walls))
}

/// Where the line goes after the agent: to the commit, or nowhere.
pub(super) struct AgentWork {
    pub(super) worktree: PathBuf,
    pub(super) verdict: AgentVerdict,
    /// Somebody ended the turn, and the agent is to go on in another.
    pub(super) interrupted: bool,
}

impl<'a> Line<'a> {
    async fn begin(tools: &'a Tools, signals: &'a Signals, assignment: Assignment) -> Step<Self> {
        let client = tools.store.get_client(&assignment.job.client_id).await?;
        let clone_used = match tools.repository(&client) {
            Ok(repository) => Some(repository.enter().await),
            // whoever wants to use it says so
            Err(_) => None,
        };
        let (options, walls) = options_of(tools, &assignment, &client).await?;
        let options = EffectiveOptions::resolve(options, walls.sandboxed);
        let (runs_with, step_ended) =
            (RunOptions::from(options.clone()), tools.has_ended_step(assignment.lease));
        tools.store.record_options(assignment.lease, &runs_with, walls.as_str(), step_ended).await?;
        Ok(Self {
            tools,
            signals,
            lease: assignment.lease,
            job: assignment.job,
            client,
            options,
            walls,
            adopted: assignment.adopted,
            ran_away: false,
            left_conversation: false,
            clone_used,
            phase_time: None,
        })
    }

    /// From the first step that is not done yet to the last.
    async fn walk(&mut self) -> Step<Outcome> {
        self.end_if_deadly().await?;
        let base = match (&self.job.start, &self.job.effects.base_sha, &self.job.effects.head_sha) {
            // the commit is there: nothing before it is ever repeated
            (_, Some(base), Some(_)) => base.clone(),
            (Start::Publish { base_sha, head_sha, or_agent }, ..) => {
                let (base, head, or_agent) = (base_sha.clone(), head_sha.clone(), *or_agent);
                self.check_signals()?;
                match self.take_over_commit(&base, &head, or_agent).await? {
                    Some(base) => base,
                    None => match self.work().await? {
                        Some(base) => base,
                        None => return self.no_changes(),
                    },
                }
            }
            (Start::Agent | Start::Resume { .. }, ..) => match self.work().await? {
                Some(base) => base,
                None => return self.no_changes(),
            },
        };
        self.check_signals()?;
        self.check_artifacts()?;
        self.publish(&base).await
    }

    fn no_changes(&self) -> Step<Outcome> {
        self.check_artifacts()?;
        Ok(Outcome::NoChanges)
    }

    /// From the agent to its commit; gives the commit that this builds on, `None` when nothing changed.
    async fn work(&mut self) -> Step<Option<String>> {
        let work = self.agent_work().await?;
        self.keep_artifacts(&work.worktree).await?;
        self.commit(work).await
    }

    /// Prepares, sets up, runs the agent and verifies its work, each only where that is not done or under way already.
    async fn agent_work(&mut self) -> Step<AgentWork> {
        self.bury_earlier_attempts().await?;
        let worktree = if self.has_begun()? {
            self.say("the server came back and goes on where the one before it was").await?;
            // removed and forgotten by now if a server was killed between that and the end
            self.tools.worktree_path(&self.client, &self.job.chain.root)
        } else {
            // not before: a step that runs is ended through its shim, and its end is waited for
            self.check_signals()?;
            self.bury_earlier_jobs().await?;
            self.phase(Phase::Preparing).await?;
            self.tell_walls().await?;
            let (cancel, shutdown) = (self.signals.cancel.clone(), self.signals.shutdown.clone());
            tokio::select! {
                prepared = self.prepare() => prepared?,
                () = cancel.cancelled() => return Err(Halt::Ended(AttemptEnd::Cancelled)),
                // nothing is lost: the next server prepares anew
                () = shutdown.cancelled() => return Err(Halt::Shutdown),
            }
        };
        self.set_up(&worktree).await?;
        self.accepted_work(&worktree).await
    }

    /// After the walk, whatever it came to: the worktree goes if what it holds is kept elsewhere.
    async fn end(&mut self, walked: Step<Outcome>) -> Step<AttemptEnd> {
        self.absorb_commits().await;
        match walked {
            // its commit is nowhere else: one that cannot be kept is no result
            Ok(Outcome::DryRun) => match self.tidy_up(Status::Completed, true).await? {
                Some(failed) => Ok(failed),
                None => Ok(AttemptEnd::Completed { outcome: Outcome::DryRun }),
            },
            Ok(outcome) => {
                let failed = self.tidy_up(Status::Completed, false).await?;
                self.warn_of_leftovers(failed).await?;
                Ok(AttemptEnd::Completed { outcome })
            }
            Err(Halt::Ended(end)) => {
                if self.waits_for_room(&end) {
                    return Err(Halt::NoRoom);
                }
                let end = self.mend_clone(end).await?;
                self.pause_tampered(&end).await?;
                self.ran_away = matches!(&end, AttemptEnd::Faulted { reason, .. } if reason.code == ReasonCode::ResourceLimit);
                let status = self.status_after(&end).await?;
                if status == Some(Status::Failed) {
                    self.keep_artifacts_of_failure(&end).await?;
                }
                if self.is_judged_by_worktree() && status.is_some() {
                    self.keep_branch_before_sweep().await?;
                } else if let Some(status) = status {
                    let failed = self.tidy_up(status, true).await?;
                    self.warn_of_leftovers(failed).await?;
                }
                Ok(end)
            }
            Err(other) => Err(other),
        }
    }

    /// Whoever looks at the worktree or its branch from now on finds what was committed in the sandbox.
    async fn absorb_commits(&self) {
        if !self.walls.sandboxed {
            return;
        }
        let path = self.tools.worktree_path(&self.client, &self.job.chain.root);
        let absorbed = match self.tools.repository(&self.client) {
            Ok(repository) => repository.absorb(&path).await,
            Err(error) => Err(error),
        };
        if let Err(error) = absorbed {
            tracing::warn!(%error, "what was committed in the sandbox is looked for again when it is needed");
        }
    }

    /// Whether a full disk stands between the agent, which has been started, and what is made of its work. A new attempt would
    /// have it done, and paid, once more.
    fn waits_for_room(&self, end: &AttemptEnd) -> bool {
        let is_full =
            matches!(end, AttemptEnd::Faulted { reason, .. } if reason.code == ReasonCode::DiskFull);
        is_full && !matches!(self.has_run(FIRST_TURN), Ok(false)) && !self.signals.cancel.is_cancelled()
    }

    /// Whether a server that is killed now leaves the next one to judge the work by its worktree: then the end is
    /// stored first, and the worktree goes after it.
    fn is_judged_by_worktree(&self) -> bool {
        self.job.phase == Phase::Committing && self.job.effects.head_sha.is_none()
    }

    pub(super) fn check_signals(&self) -> Step<()> {
        if self.signals.cancel.is_cancelled() {
            return Err(Halt::Ended(AttemptEnd::Cancelled));
        }
        if self.signals.shutdown.is_cancelled() {
            return Err(Halt::Shutdown);
        }
        Ok(())
    }

    /// What long work hears a cancel by, and the end of the server.
    pub(super) fn give_up(&self) -> GiveUp {
        GiveUp::new(vec![self.signals.cancel.clone(), self.signals.shutdown.clone()])
    }

    /// What ends a step that was given up because of a signal.
    pub(super) fn given_up(&self) -> Halt {
        // a signal is never taken back
        self.check_signals().err().unwrap_or(Halt::Shutdown)
    }

    pub(super) async fn phase(&mut self, phase: Phase) -> Step<()> {
        if self.job.phase != phase {
            self.tools.store.reach_phase(self.lease, phase).await?;
            self.phase_reached(phase);
        }
        Ok(())
    }

    /// What this walk has stored of the phase.
    pub(super) fn phase_reached(&mut self, phase: Phase) {
        self.job.phase = phase;
        self.phase_time = Some(PhaseTime { phase, since: Instant::now() });
        tracing::info!(%phase, "phase");
    }

    /// Stores effects and keeps the own copy of the job in step.
    pub(super) async fn effects(&mut self, new: Effects) -> Step<()> {
        self.tools.store.record_effects(self.lease, new.clone()).await?;
        let known = &mut self.job.effects;
        macro_rules! take {
            ($($field:ident),+) => { $(if new.$field.is_some() { known.$field = new.$field; })+ };
        }
        take!(worktree_path, base_sha, branch_tip, head_sha, pushed_sha, pr_url, pr_number);
        take!(files_changed, insertions, deletions, session_id, pid, exit_code, authentication);
        Ok(())
    }

    pub(super) async fn say(&self, text: &str) -> Step<()> {
        Ok(self.tools.store.add_system_message(self.lease, text).await?)
    }

    pub(super) async fn warn(&self, text: &str) -> Step<()> {
        self.tools.store.add_warning(self.lease, text).await?;
        self.say(text).await
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.tools.clock.now_ms())
    }

    pub(super) fn commit_id(text: &str) -> Step<CommitId> {
        text.parse().map_err(|error| Halt::internal("a stored commit id is invalid", error))
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.options.publish == Publish::None
    }
}
