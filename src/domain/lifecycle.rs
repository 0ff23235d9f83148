//! The one place where a job's status changes: (where it is, what happened) → what becomes of it.
//!
//! Pure. The store calls it inside the transaction that writes its answer and guards that with the status, attempt and
//! epoch it read, so two causes can never both win.

use std::time::Duration;

use super::attempt::AttemptEnd;
use super::event::EventKind;
use super::hold::LimitWindow;
use super::job::{Outcome, Phase, Status};
use super::reason::{
    ASKED_SECONDS_MAX, BACKOFF_TRIES_MAX, Disposition, LIMIT_OVER_SECONDS, LIMIT_SECONDS_MAX,
    LIMIT_UNTOLD_SECONDS, Reason, ReasonCode, STOPS_MAX, backoff_seconds,
};
use super::time::Timestamp;

/// What the decision rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    pub status: Status,
    pub phase: Phase,
    /// Counted attempts before this cause.
    pub attempts_counted: u32,
    /// How many may be counted, at least 1.
    pub attempts_max: u32,
    pub backoff_tries: u32,
    pub cancel_requested: bool,
    /// In this attempt and in every one that was counted before it a server died.
    pub server_died_each_time: bool,
    /// Attempts before this one that were stopped and not counted.
    pub stops: u32,
}

/// What happened to the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A worker takes it.
    Claimed,
    /// The worker has come to the next phase.
    PhaseReached(Phase),
    /// The caller wants it to end.
    CancelRequested,
    /// Its attempt has ended, and no process of it is left.
    AttemptEnded(AttemptEnd),
    /// A job that it depends on did not succeed.
    DependencyFailed(Reason),
}

/// What becomes of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub status: Status,
    pub phase: Phase,
    pub outcome: Option<Outcome>,
    /// `None` leaves what is stored.
    pub reason: Option<Reason>,
    pub event: EventKind,
    /// The ended attempt uses up one of `maxAttempts`.
    pub counted: bool,
    pub backoff_tries: u32,
    pub not_before: Option<Timestamp>,
    /// All work of the login waits, until then if that is known.
    pub hold: Option<Option<Timestamp>>,
    /// Which limit of the login that is.
    pub window: Option<LimitWindow>,
}

impl Transition {
    /// The job is over: its callback is due, its lease ends, what waited for it is looked at.
    #[must_use]
    pub const fn ends_job(&self) -> bool {
        !self.status.is_live()
    }
}

/// A cause that does not apply to a job in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Job already completed")]
    AlreadyCompleted,
    #[error("Job already failed")]
    AlreadyFailed,
    #[error("Job already cancelled")]
    AlreadyCancelled,
    #[error("job is not running")]
    NotRunning,
    #[error("job is running already")]
    Running,
    /// A running job is cancelled by its worker, once its processes are gone; the request alone changes no status.
    #[error("job is running: its worker ends it")]
    EndsWithItsWorker,
}

/// Decides.
///
/// # Errors
/// When the cause cannot happen to a job in this state; the job stays as it is.
pub fn transition(now: Timestamp, at: &Situation, cause: Cause) -> Result<Transition, Refusal> {
    match at.status {
        Status::Completed => return Err(Refusal::AlreadyCompleted),
        Status::Failed => return Err(Refusal::AlreadyFailed),
        Status::Cancelled => return Err(Refusal::AlreadyCancelled),
        Status::Queued | Status::Running => {}
    }
    match (at.status, cause) {
        (Status::Queued, Cause::Claimed) => Ok(Transition {
            phase: Phase::Preparing,
            ..moved(at, Status::Running, EventKind::AttemptStarted)
        }),
        (_, Cause::Claimed) => Err(Refusal::Running),
        (Status::Running, Cause::PhaseReached(phase)) => {
            Ok(Transition { phase, ..moved(at, Status::Running, EventKind::JobPhase) })
        }
        (Status::Queued, Cause::CancelRequested) => Ok(cancelled(at)),
        (_, Cause::CancelRequested) => Err(Refusal::EndsWithItsWorker),
        (Status::Running, Cause::AttemptEnded(end)) => Ok(attempt_ended(now, at, end)),
        (Status::Queued, Cause::DependencyFailed(reason)) => Ok(failed(at, reason, false)),
        (_, Cause::PhaseReached(_) | Cause::AttemptEnded(_)) => Err(Refusal::NotRunning),
        (_, Cause::DependencyFailed(_)) => Err(Refusal::Running),
    }
}

fn attempt_ended(now: Timestamp, at: &Situation, end: AttemptEnd) -> Transition {
    match end {
        AttemptEnd::Completed { outcome } => completed(at, outcome),
        AttemptEnd::Cancelled => cancelled(at),
        // A request to cancel wins over everything but success: there must be no further attempt.
        AttemptEnd::Faulted { .. } | AttemptEnd::Attached | AttemptEnd::Held if at.cancel_requested => {
            cancelled(at)
        }
        // nothing went wrong: neither counted nor a reason for anything
        AttemptEnd::Attached | AttemptEnd::Held => {
            Transition { phase: Phase::Queued, ..moved(at, Status::Queued, EventKind::JobHeld) }
        }
        AttemptEnd::Faulted { reason, until, window, spent } => {
            let decided = faulted(now, at, reason, until, spent);
            let window = window.filter(|_| decided.hold.is_some());
            Transition { window, ..decided }
        }
    }
}

fn faulted(
    now: Timestamp,
    at: &Situation,
    reason: Reason,
    until: Option<Timestamp>,
    spent: bool,
) -> Transition {
    match reason.code.disposition() {
        Disposition::HoldLogin => {
            Transition { hold: Some(hold_until(now, reason.code, until)), ..requeued(at, reason) }
        }
        Disposition::Backoff if at.backoff_tries < BACKOFF_TRIES_MAX => {
            let tries = at.backoff_tries + 1;
            let own = now + Duration::from_secs(backoff_seconds(tries));
            let longest = now + Duration::from_secs(ASKED_SECONDS_MAX);
            let not_before = until.map_or(own, |asked| asked.min(longest).max(own));
            Transition { backoff_tries: tries, not_before: Some(not_before), ..requeued(at, reason) }
        }
        Disposition::Requeue if at.stops < STOPS_MAX => requeued(at, reason),
        Disposition::Count if !spent => requeued(at, reason),
        Disposition::Count | Disposition::Requeue if at.attempts_counted + 1 < at.attempts_max => {
            Transition { counted: true, ..requeued(at, reason) }
        }
        Disposition::Count if is_poisoned(at, &reason) => {
            let detail = format!("The last one ended with: {}", reason.message);
            failed(at, Reason::new(ReasonCode::Poisoned, &detail), true)
        }
        Disposition::Count | Disposition::Requeue => failed(at, reason, true),
        Disposition::Backoff | Disposition::Fail => failed(at, reason, false),
    }
}

/// A limit ends by itself, so its hold must too, whatever the agent said of it; a login that is dead waits for somebody.
fn hold_until(now: Timestamp, code: ReasonCode, told: Option<Timestamp>) -> Option<Timestamp> {
    if code != ReasonCode::UsageLimit {
        return told;
    }
    let after = |seconds| now + Duration::from_secs(seconds);
    let told = told.unwrap_or_else(|| after(LIMIT_UNTOLD_SECONDS));
    Some(if told > now { told.min(after(LIMIT_SECONDS_MAX)) } else { after(LIMIT_OVER_SECONDS) })
}

/// Once is a coincidence, and whoever ended by himself has his own reason.
fn is_poisoned(at: &Situation, reason: &Reason) -> bool {
    at.server_died_each_time && at.attempts_counted > 0 && reason.code != ReasonCode::Crashed
}

fn moved(at: &Situation, status: Status, event: EventKind) -> Transition {
    Transition {
        status,
        phase: at.phase,
        outcome: None,
        reason: None,
        event,
        counted: false,
        backoff_tries: at.backoff_tries,
        not_before: None,
        hold: None,
        window: None,
    }
}

fn requeued(at: &Situation, reason: Reason) -> Transition {
    Transition { phase: Phase::Queued, reason: Some(reason), ..moved(at, Status::Queued, EventKind::JobHeld) }
}

fn completed(at: &Situation, outcome: Outcome) -> Transition {
    Transition {
        phase: Phase::Done,
        outcome: Some(outcome),
        ..moved(at, Status::Completed, EventKind::JobCompleted)
    }
}

fn failed(at: &Situation, reason: Reason, counted: bool) -> Transition {
    Transition {
        phase: Phase::Done,
        outcome: Some(Outcome::Failed),
        reason: Some(reason),
        counted,
        ..moved(at, Status::Failed, EventKind::JobFailed)
    }
}

fn cancelled(at: &Situation) -> Transition {
    Transition {
        phase: Phase::Done,
        outcome: Some(Outcome::Cancelled),
        reason: Some(Reason::new(ReasonCode::Cancelled, "")),
        ..moved(at, Status::Cancelled, EventKind::JobCancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000);

    fn at(status: Status) -> Situation {
        Situation {
            status,
            phase: if status == Status::Queued { Phase::Queued } else { Phase::Agent },
            attempts_counted: 0,
            attempts_max: 3,
            backoff_tries: 0,
            cancel_requested: false,
            server_died_each_time: false,
            stops: 0,
        }
    }

    fn fault(code: ReasonCode) -> Cause {
        Cause::AttemptEnded(AttemptEnd::Faulted {
            reason: Reason::new(code, ""),
            until: None,
            window: None,
            spent: true,
        })
    }

    fn causes() -> Vec<(&'static str, Cause)> {
        vec![
            ("claimed", Cause::Claimed),
            ("phase", Cause::PhaseReached(Phase::Pushing)),
            ("cancel", Cause::CancelRequested),
            ("completed", Cause::AttemptEnded(AttemptEnd::Completed { outcome: Outcome::PullRequest })),
            ("crashed", fault(ReasonCode::Crashed)),
            ("limit", fault(ReasonCode::UsageLimit)),
            ("overloaded", fault(ReasonCode::Overloaded)),
            ("stopped", fault(ReasonCode::Stopped)),
            ("rejected", fault(ReasonCode::PushRejected)),
            ("ended cancelled", Cause::AttemptEnded(AttemptEnd::Cancelled)),
            ("attached", Cause::AttemptEnded(AttemptEnd::Attached)),
            ("held", Cause::AttemptEnded(AttemptEnd::Held)),
            ("dependency", Cause::DependencyFailed(Reason::new(ReasonCode::DependencyFailed, ""))),
        ]
    }

    /// Every status with every cause, in one picture.
    #[test]
    fn the_whole_table() {
        let mut picture = String::new();
        for status in Status::ALL {
            for (name, cause) in causes() {
                let line = match transition(NOW, &at(*status), cause) {
                    Ok(t) => format!("{} {} {}", t.status, t.phase, t.event),
                    Err(refusal) => format!("- {refusal:?}"),
                };
                picture.push_str(&format!("{status} + {name} = {line}\n"));
            }
        }
        insta::assert_snapshot!(picture);
    }

    #[test]
    fn counted_attempts_run_out() {
        let second = Situation { attempts_counted: 1, ..at(Status::Running) };
        let third = Situation { attempts_counted: 2, ..at(Status::Running) };
        let again = transition(NOW, &second, fault(ReasonCode::Interrupted)).unwrap();
        assert_eq!((again.status, again.counted), (Status::Queued, true));
        let over = transition(NOW, &third, fault(ReasonCode::Interrupted)).unwrap();
        assert_eq!((over.status, over.counted), (Status::Failed, true));
    }

    #[test]
    fn stops_are_free_ten_times_and_counted_then() {
        let stopped = |stops, attempts_counted| {
            let at = Situation { stops, attempts_counted, ..at(Status::Running) };
            let decided = transition(NOW, &at, fault(ReasonCode::Stopped)).unwrap();
            (decided.status, decided.counted)
        };
        assert_eq!(stopped(9, 2), (Status::Queued, false));
        assert_eq!(stopped(10, 0), (Status::Queued, true));
        assert_eq!(stopped(12, 2), (Status::Failed, true));
    }

    #[test]
    fn a_job_is_poisoned_when_its_last_attempt_too_took_the_server_down() {
        let deadly = |attempts_counted| Situation {
            attempts_counted,
            server_died_each_time: true,
            ..at(Status::Running)
        };
        let again = transition(NOW, &deadly(1), fault(ReasonCode::Interrupted)).unwrap();
        assert_eq!((again.status, again.reason.unwrap().code), (Status::Queued, ReasonCode::Interrupted));
        let over = transition(NOW, &deadly(2), fault(ReasonCode::OutOfMemory)).unwrap();
        assert_eq!((over.status, over.counted), (Status::Failed, true));
        assert_eq!(over.reason.unwrap().code, ReasonCode::Poisoned);
        // what the agent did wrong by itself keeps its name
        for code in [ReasonCode::Crashed, ReasonCode::Refused] {
            assert_eq!(transition(NOW, &deadly(2), fault(code)).unwrap().reason.unwrap().code, code);
        }
        let only = Situation { attempts_max: 1, ..deadly(0) };
        let once = transition(NOW, &only, fault(ReasonCode::Interrupted)).unwrap();
        assert_eq!(once.reason.unwrap().code, ReasonCode::Interrupted);
    }

    #[test]
    fn an_attempt_in_which_nothing_was_spent_is_not_counted() {
        let end = AttemptEnd::Faulted {
            reason: Reason::new(ReasonCode::Interrupted, ""),
            until: None,
            window: None,
            spent: false,
        };
        let last = Situation { attempts_counted: 2, ..at(Status::Running) };
        let next = transition(NOW, &last, Cause::AttemptEnded(end)).unwrap();
        assert_eq!((next.status, next.counted), (Status::Queued, false));
    }

    #[test]
    fn a_peer_that_is_away_is_given_time_and_then_given_up() {
        let mut situation = at(Status::Running);
        for try_number in 1..=BACKOFF_TRIES_MAX {
            let next = transition(NOW, &situation, fault(ReasonCode::RemoteUnavailable)).unwrap();
            let wait = Duration::from_secs(backoff_seconds(try_number));
            assert_eq!((next.status, next.counted), (Status::Queued, false));
            assert_eq!(next.not_before, Some(NOW + wait));
            situation.backoff_tries = next.backoff_tries;
        }
        let over = transition(NOW, &situation, fault(ReasonCode::RemoteUnavailable)).unwrap();
        assert_eq!(over.status, Status::Failed);
    }

    #[test]
    fn a_limit_holds_the_login_and_counts_nothing() {
        let until = Some(NOW + Duration::from_secs(60));
        let reason = Reason::new(ReasonCode::UsageLimit, "");
        let end = AttemptEnd::Faulted { reason, until, window: None, spent: true };
        let next = transition(NOW, &at(Status::Running), Cause::AttemptEnded(end)).unwrap();
        assert_eq!((next.status, next.counted, next.hold), (Status::Queued, false, Some(until)));
    }

    #[test]
    fn a_limit_always_has_an_end_that_is_ahead_and_not_too_far() {
        let ends = |code, until: Option<i64>| {
            let until = until.map(|ms| Timestamp::from_ms(NOW.as_ms() + ms));
            let end = AttemptEnd::Faulted { reason: Reason::new(code, ""), until, window: None, spent: true };
            let next = transition(NOW, &at(Status::Running), Cause::AttemptEnded(end)).unwrap();
            next.hold.unwrap().map(|until| until.as_ms() - NOW.as_ms())
        };
        let limit = |until| ends(ReasonCode::UsageLimit, until);
        assert_eq!(limit(Some(5_000)), Some(5_000));
        assert_eq!(limit(None), Some(1_800_000));
        assert_eq!((limit(Some(0)), limit(Some(-86_400_000))), (Some(60_000), Some(60_000)));
        assert_eq!(limit(Some(i64::MAX / 2)), Some(8 * 86_400_000));
        assert_eq!(ends(ReasonCode::NotLoggedIn, None), None);
    }

    #[test]
    fn a_peer_that_asks_for_a_year_gets_two_hours() {
        let until = Some(NOW + Duration::from_secs(365 * 86_400));
        let reason = Reason::new(ReasonCode::ForgeRateLimited, "");
        let end = AttemptEnd::Faulted { reason, until, window: None, spent: true };
        let next = transition(NOW, &at(Status::Running), Cause::AttemptEnded(end)).unwrap();
        assert_eq!(next.not_before, Some(NOW + Duration::from_secs(7_200)));
    }

    #[test]
    fn after_a_request_to_cancel_there_is_no_further_attempt() {
        let asked = Situation { cancel_requested: true, ..at(Status::Running) };
        for code in ReasonCode::ALL {
            assert_eq!(transition(NOW, &asked, fault(*code)).unwrap().status, Status::Cancelled, "{code}");
        }
        let made_way = transition(NOW, &asked, Cause::AttemptEnded(AttemptEnd::Attached)).unwrap();
        assert_eq!(made_way.status, Status::Cancelled);
        let done = Cause::AttemptEnded(AttemptEnd::Completed { outcome: Outcome::PullRequest });
        assert_eq!(transition(NOW, &asked, done).unwrap().status, Status::Completed);
    }
}
