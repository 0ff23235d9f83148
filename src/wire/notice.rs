//! What somebody is told of without asking: rendered once, in the transaction of what it tells.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::job::Reason;
use super::time::UtcTime;
use crate::domain::delivery::RenderedCallback;
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::job::{JobView, Outcome, Status};
use crate::domain::notice::{HoldMoved, NoticeKind, Subscription};
use crate::domain::phrases;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;

/// Characters of a title: a line of a phone, twice.
const TITLE_CHARS_MAX: usize = 120;

/// The body of a notice's delivery, and what a program of kind `command` gets. Texts are for people; those of a job were written by
/// others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// `notice.finished`, `notice.failed`, `notice.needs_input`, `notice.held`, `notice.resumed`, `notice.test`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The same in every try.
    pub event_id: String,
    pub timestamp: UtcTime,
    /// One line.
    pub title: String,
    pub sentence: String,
    /// What to do, where there is something.
    pub hint: Option<String>,
    /// `null`: it is about a login.
    pub job_id: Option<String>,
    pub number: Option<i64>,
    /// `org/repo`
    pub repository: Option<String>,
    pub branch_name: Option<String>,
    pub pr_url: Option<String>,
    pub files_changed: Option<i64>,
    /// `null`: it is about a job.
    pub login: Option<String>,
    /// When the login is tried again, as far as that is known.
    pub until: Option<UtcTime>,
}

impl Notice {
    fn new(kind: NoticeKind, event_id: &EventId, now: Timestamp, (title, sentence): (&str, String)) -> Self {
        Self {
            type_: kind.to_string(),
            event_id: event_id.to_string(),
            timestamp: now.into(),
            title: phrases::one_line(title, TITLE_CHARS_MAX),
            sentence,
            hint: None,
            job_id: None,
            number: None,
            repository: None,
            branch_name: None,
            pr_url: None,
            files_changed: None,
            login: None,
            until: None,
        }
    }

    /// Of a job that is over; `None` for one that is not, or that somebody has cancelled: who did that knows.
    #[must_use]
    pub fn of_end(view: &JobView, event_id: &EventId, now: Timestamp) -> Option<Self> {
        let (job, effects) = (&view.job, &view.job.effects);
        let code = job.reason.as_ref().map(|reason| reason.code);
        let (kind, verb) = match job.status {
            Status::Completed => (NoticeKind::Finished, "finished"),
            Status::Failed if code == Some(ReasonCode::NeedsInput) => (NoticeKind::NeedsInput, "needs input"),
            Status::Failed => (NoticeKind::Failed, "failed"),
            Status::Queued | Status::Running | Status::Cancelled => return None,
        };
        let about = job.request.title.clone().unwrap_or_else(|| job.request.branch.to_string());
        let title = format!("Job {} {verb}: {about}", job.number.0);
        let reason = job.reason.as_ref().filter(|_| job.status == Status::Failed);
        let sentence = reason.map_or_else(|| achieved(view), |reason| reason.message.clone());
        Some(Self {
            hint: reason.map(|reason| Reason::of(reason, job.number, job.status).hint),
            job_id: Some(job.id.to_string()),
            number: Some(job.number.0),
            repository: Some(view.repository.to_string()),
            branch_name: Some(job.request.branch.to_string()),
            pr_url: effects.pr_url.clone(),
            files_changed: effects.files_changed,
            ..Self::new(kind, event_id, now, (&title, sentence))
        })
    }

    /// With its time in the text: of two that were tried again and again, the later one may come first.
    #[must_use]
    pub fn of_hold(moved: &HoldMoved, event_id: &EventId, now: Timestamp) -> Self {
        match moved {
            HoldMoved::Held { login, reason, until, window } => {
                let why = window.map_or_else(
                    || reason.code.as_str().replace('_', " "),
                    |window| format!("{} limit", window.adjective()),
                );
                let waits = until.map_or_else(
                    || "its jobs wait until that is mended.".to_owned(),
                    |until| format!("its jobs wait until {}.", minute(until)),
                );
                let sentence = format!("{} Held since {}: {waits}", reason.message, minute(now));
                Self {
                    hint: Some(reason.code.hint().to_owned()),
                    login: Some(login.clone()),
                    until: until.map(UtcTime),
                    ..Self::new(
                        NoticeKind::Held,
                        event_id,
                        now,
                        (&format!("{login} is held: {why}"), sentence),
                    )
                }
            }
            HoldMoved::Resumed { login } => {
                let sentence = format!("Since {} its jobs go on.", minute(now));
                let title = format!("{login} works again");
                Self {
                    login: Some(login.clone()),
                    ..Self::new(NoticeKind::Resumed, event_id, now, (&title, sentence))
                }
            }
        }
    }

    /// For somebody who tries a target out.
    #[must_use]
    pub fn test(event_id: &EventId, now: Timestamp) -> Self {
        let sentence = "This is how you are told of jobs. Nothing has happened.".to_owned();
        Self::new(NoticeKind::Test, event_id, now, ("A test of offshoot", sentence))
    }

    /// What it tells; of a kind that only a newer version knows, that something happened.
    #[must_use]
    pub fn kind(&self) -> NoticeKind {
        NoticeKind::parse(&self.type_).unwrap_or(NoticeKind::Test)
    }

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain members with text keys always serialise")
    }

    /// For the outbox, if `subscription` wishes to hear of it.
    #[must_use]
    pub fn addressed_to(
        &self,
        subscription: &Subscription,
        event_id: EventId,
        delivery_id: DeliveryId,
    ) -> Option<RenderedCallback> {
        let kind = self.kind();
        kind.occasion().filter(|occasion| subscription.wants(*occasion))?;
        Some(RenderedCallback {
            event_id,
            delivery_id,
            kind: kind.to_string(),
            url: subscription.target(),
            body: self.to_bytes(),
        })
    }
}

/// Who is told, by which way, of what. Where that leads is a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotifyTarget {
    pub name: String,
    /// `ntfy`, `slack`, `discord`, `desktop` or `command`.
    pub kind: String,
    /// Of `finished`, `failed`, `held`, `needs_input`.
    pub on: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotifyTargets {
    pub targets: Vec<NotifyTarget>,
}

/// What came of trying one out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotifyTested {
    pub name: String,
    pub kind: String,
    pub accepted: bool,
    /// `null` when there was no answer, or it is a program.
    pub status: Option<u16>,
    pub error: Option<String>,
    pub duration_ms: u64,
}

/// What a job that came to its end has brought about.
fn achieved(view: &JobView) -> String {
    let effects = &view.job.effects;
    let what = match view.job.outcome {
        Some(Outcome::PullRequest) => effects.pr_number.map_or_else(
            || "A pull request is open.".to_owned(),
            |pr| format!("Pull request #{pr} is open."),
        ),
        Some(Outcome::BranchPushed) => "The branch is pushed.".to_owned(),
        Some(Outcome::NoChanges) => "The agent changed nothing.".to_owned(),
        Some(Outcome::DryRun) => "It was a dry run: nothing was pushed.".to_owned(),
        Some(Outcome::Failed | Outcome::Cancelled) | None => "It is over.".to_owned(),
    };
    match effects.files_changed {
        Some(1) => format!("{what} 1 file changed."),
        Some(files) if files > 1 => format!("{what} {files} files changed."),
        _ => what,
    }
}

/// `2026-11-21 09:47 UTC`
fn minute(at: Timestamp) -> String {
    let text = UtcTime(at).to_string().replacen('T', " ", 1);
    format!("{} UTC", text.get(..16).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::super::job::tests::failed_job;
    use super::*;
    use crate::domain::hold::LimitWindow;
    use crate::domain::notice::Occasion;

    const NOW: Timestamp = Timestamp::from_ms(1_795_254_480_000);

    fn event() -> EventId {
        EventId::from_random("aaaa2222bbbb3333")
    }

    #[test]
    fn the_notice_of_a_failed_job_as_it_is_stored() {
        let notice = Notice::of_end(&failed_job(), &event(), NOW).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&notice).unwrap());
        assert_eq!(serde_json::from_slice::<Notice>(&notice.to_bytes()).unwrap(), notice);
    }

    #[test]
    fn every_end_but_a_cancelled_one_is_told_in_a_line_and_a_sentence() {
        let ended = |outcome: Outcome, files: Option<i64>| {
            let mut view = failed_job();
            view.job.status = Status::Completed;
            (view.job.outcome, view.job.reason) = (Some(outcome), None);
            (view.job.effects.files_changed, view.job.effects.pr_number) = (files, Some(12));
            Notice::of_end(&view, &event(), NOW).unwrap()
        };
        for (outcome, files, sentence) in [
            (Outcome::PullRequest, Some(3), "Pull request #12 is open. 3 files changed."),
            (Outcome::BranchPushed, Some(1), "The branch is pushed. 1 file changed."),
            (Outcome::NoChanges, Some(0), "The agent changed nothing."),
            (Outcome::DryRun, None, "It was a dry run: nothing was pushed."),
        ] {
            let notice = ended(outcome, files);
            assert_eq!((notice.sentence.as_str(), notice.kind()), (sentence, NoticeKind::Finished));
            assert_eq!((notice.title.as_str(), &notice.hint), ("Job 142 finished: Fix the login", &None));
        }
        let mut asks = failed_job();
        asks.job.reason.as_mut().unwrap().code = ReasonCode::NeedsInput;
        asks.job.request.title = None;
        let notice = Notice::of_end(&asks, &event(), NOW).unwrap();
        assert_eq!(
            (notice.kind(), notice.title.as_str()),
            (NoticeKind::NeedsInput, "Job 142 needs input: fix/login")
        );
        assert!(notice.hint.unwrap().contains("142"));
        for status in [Status::Queued, Status::Running, Status::Cancelled] {
            asks.job.status = status;
            assert_eq!(Notice::of_end(&asks, &event(), NOW), None, "{status}");
        }
    }

    #[test]
    fn a_title_is_one_line_whatever_somebody_has_written() {
        let mut view = failed_job();
        view.job.request.title = Some(format!("a\u{1b}[2Jb\u{202e}c {}", "x".repeat(300)));
        let title = Notice::of_end(&view, &event(), NOW).unwrap().title;
        assert!(title.starts_with("Job 142 failed: a [2Jb c x"), "{title}");
        assert_eq!(title.chars().count(), TITLE_CHARS_MAX);
    }

    #[test]
    fn a_hold_says_since_when_until_when_and_what_to_do() {
        let later = NOW + std::time::Duration::from_secs(3_600);
        let held = |code, until, window| {
            let reason = crate::domain::reason::Reason::new(code, "");
            let login = "claude".to_owned();
            Notice::of_hold(&HoldMoved::Held { login, reason, until, window }, &event(), NOW)
        };
        let limit = held(ReasonCode::UsageLimit, Some(later), None);
        assert_eq!(limit.title, "claude is held: usage limit");
        let ends = " Held since 2026-11-21 09:48 UTC: its jobs wait until 2026-11-21 10:48 UTC.";
        assert!(limit.sentence.ends_with(ends), "{}", limit.sentence);
        let weekly = held(ReasonCode::UsageLimit, Some(later), Some(LimitWindow::Weekly));
        assert_eq!(weekly.title, "claude is held: weekly limit");
        let login = held(ReasonCode::NotLoggedIn, None, None);
        let ends = " Held since 2026-11-21 09:48 UTC: its jobs wait until that is mended.";
        assert!(login.sentence.ends_with(ends), "{}", login.sentence);
        assert!(login.hint.unwrap().contains("log the agent in"));
        let resumed = Notice::of_hold(&HoldMoved::Resumed { login: "claude".to_owned() }, &event(), NOW);
        assert_eq!((resumed.title.as_str(), resumed.kind()), ("claude works again", NoticeKind::Resumed));
        assert_eq!(resumed.sentence, "Since 2026-11-21 09:48 UTC its jobs go on.");
    }

    #[test]
    fn it_goes_to_those_who_wish_to_hear_of_it() {
        let to = |on: &[Occasion]| Subscription { name: "phone".to_owned(), on: on.to_vec() };
        let notice = Notice::of_end(&failed_job(), &event(), NOW).unwrap();
        let delivery = || DeliveryId::from_random("cccc4444dddd5555");
        let sent = notice.addressed_to(&to(&[Occasion::Failed]), event(), delivery()).unwrap();
        assert_eq!((sent.url.as_str(), sent.kind.as_str()), ("notify.phone", "notice.failed"));
        assert_eq!(sent.body, notice.to_bytes());
        assert_eq!(notice.addressed_to(&to(&[Occasion::Finished]), event(), delivery()), None);
        let test = Notice::test(&event(), NOW);
        assert_eq!(test.addressed_to(&to(Occasion::ALL), event(), delivery()), None);
    }
}
