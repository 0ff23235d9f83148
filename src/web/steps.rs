//! How far a job has come, and how long each part took.

use maud::{Markup, html};

use super::parts::icon;
use crate::domain::event::EventKind;
use crate::domain::job::{Phase, Status};
use crate::domain::phrases;
use crate::domain::time::Timestamp;
use crate::wire::event::{Event, JobMoved};
use crate::wire::time::UtcTime;

const SHOWN: &[(Phase, &str)] = &[
    (Phase::Queued, "queued"),
    (Phase::Preparing, "prepare"),
    (Phase::Agent, "agent"),
    (Phase::Verifying, "verify"),
    (Phase::Committing, "commit"),
    (Phase::Pushing, "push"),
    (Phase::OpeningPr, "pull request"),
];

/// What the history says of the phases; those of all attempts are summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// Milliseconds in each phase that was entered.
    spent: Vec<(Phase, u64)>,
    /// Where it is now, and since when.
    now: Option<(Phase, Timestamp)>,
    /// Where it was when it ended.
    pub(super) ended_in: Option<Phase>,
}

impl Steps {
    /// `life` are the events that moved the job, the oldest first.
    pub(super) fn of(life: &[Event]) -> Self {
        let mut steps = Self::default();
        for event in life {
            let Ok(moved) = serde_json::from_value::<JobMoved>(event.data.clone()) else { continue };
            let at = event.at.0;
            if let Some((phase, since)) = steps.now.take() {
                steps.add(phase, since, at);
                steps.ended_in = Some(phase);
            }
            let is_over = matches!(
                event.type_.0,
                EventKind::JobCompleted | EventKind::JobFailed | EventKind::JobCancelled
            );
            if !is_over {
                steps.now = Some((moved.phase.0, at));
                steps.ended_in = None;
            }
        }
        steps
    }

    fn add(&mut self, phase: Phase, since: Timestamp, at: Timestamp) {
        let ms = u64::try_from(at.since(since).as_millis()).unwrap_or(u64::MAX);
        match self.spent.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, sum)) => *sum += ms,
            None => self.spent.push((phase, ms)),
        }
    }

    fn spent(&self, phase: Phase) -> Option<u64> {
        self.spent.iter().find(|(known, _)| *known == phase).map(|(_, ms)| *ms)
    }

    /// The name of the phase in which it ended.
    pub(super) fn ended_in(&self) -> Option<&'static str> {
        SHOWN.iter().find(|(phase, _)| Some(*phase) == self.ended_in).map(|(_, name)| *name)
    }

    pub(super) fn show(&self, status: Status, now: Timestamp) -> Markup {
        html! {
            ol .steps aria-label="Phases" {
                @for (phase, name) in SHOWN { (self.one(*phase, name, status, now)) }
            }
        }
    }

    fn one(&self, phase: Phase, name: &str, status: Status, now: Timestamp) -> Markup {
        let is_now = self.now.is_some_and(|(current, _)| current == phase);
        let is_end = self.ended_in == Some(phase) && matches!(status, Status::Failed | Status::Cancelled);
        let (state, picture) = match (is_now, is_end, self.spent(phase)) {
            (true, ..) if status == Status::Queued => ("now", "queued"),
            (true, ..) => ("now", "running"),
            (_, true, _) => (status.as_str(), status.as_str()),
            (.., Some(_)) => ("done", "completed"),
            _ => ("todo", "todo"),
        };
        let before = self.spent(phase).unwrap_or(0);
        html! {
            li .step .{ "is-" (state) } aria-current=[is_now.then_some("step")] {
                (icon(picture))
                span .step-name { (name) }
                @match (is_now, self.now) {
                    (true, Some((_, since))) => {
                        // counted as if all of it had been in one piece
                        @let from = Timestamp::from_ms(since.as_ms().saturating_sub(i64::try_from(before).unwrap_or(0)));
                        time .num data-since=(UtcTime(from)) { (phrases::took(now.since(from).as_secs())) }
                    }
                    _ => {
                        @if self.spent(phase).is_some() { span .num { (phrases::took(before / 1_000)) } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(at: i64, kind: EventKind, phase: &str, status: &str) -> Event {
        let data = json!({"status": status, "phase": phase, "outcome": null, "reason": null, "message": null, "until": null});
        let at = Timestamp::from_ms(at * 1_000).into();
        Event { seq: at_seq(kind), type_: kind.into(), job: 1, job_id: None, attempt: None, at, data }
    }

    fn at_seq(kind: EventKind) -> i64 {
        i64::try_from(kind.as_str().len()).unwrap()
    }

    #[test]
    fn phases_of_all_attempts_are_summed_up() {
        let mut life = vec![
            event(0, EventKind::JobQueued, "queued", "queued"),
            event(4, EventKind::AttemptStarted, "preparing", "running"),
            event(10, EventKind::JobPhase, "agent", "running"),
            event(70, EventKind::JobHeld, "queued", "queued"),
            event(80, EventKind::AttemptStarted, "preparing", "running"),
            event(81, EventKind::JobPhase, "agent", "running"),
        ];
        let steps = Steps::of(&life);
        assert_eq!(steps.now, Some((Phase::Agent, Timestamp::from_ms(81_000))));
        let html = steps.show(Status::Running, Timestamp::from_ms(91_000)).into_string();
        assert!(html.contains("0:14") && html.contains("0:07") && html.contains("1:10"), "{html}");
        assert!(html.contains("aria-current=\"step\""), "{html}");
        life.push(event(141, EventKind::JobPhase, "verifying", "running"));
        life.push(event(142, EventKind::JobFailed, "done", "failed"));
        let steps = Steps::of(&life);
        assert_eq!((steps.now, steps.ended_in()), (None, Some("verify")));
        let html = steps.show(Status::Failed, Timestamp::from_ms(999_000)).into_string();
        assert!(html.contains("2:00") && html.contains("is-failed"), "{html}");
    }
}
