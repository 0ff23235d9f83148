//! Logins that are held: who goes out as the probe, and which end of it lifts the hold.

use std::time::Duration;

use offshoot::domain::attempt::{AttemptEnd, Lease};
use offshoot::domain::client::ClientPatch;
use offshoot::domain::event::{EventKind, MessageKind};
use offshoot::domain::hold::LimitWindow;
use offshoot::domain::id::JobNumber;
use offshoot::domain::job::{NewJob, Phase, Start, Usage, Waiting, WaitingFor};
use offshoot::domain::notice::{Occasion, Subscription};
use offshoot::domain::options::RunOptions;
use offshoot::domain::reason::{Reason, ReasonCode};
use offshoot::domain::time::Timestamp;
use offshoot::store::{Ingest, IngestedMessage};

use crate::store_fixture::{Bench, done, fault, fault_until, job, waiting};

/// Its agent has run and been paid: no hold of a login stands in its way, and it proves nothing about the login.
#[tokio::test]
async fn a_commit_is_published_while_its_login_is_held() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let held = bench.claim().await;
    bench.end(held.lease, fault(ReasonCode::NotLoggedIn)).await;
    let (base_sha, head_sha) = ("b".repeat(40), "c".repeat(40));
    let start = Start::Publish { base_sha, head_sha, or_agent: true };
    bench.try_submit(NewJob { start, ..job(&client.id, "2") }).await.unwrap();
    assert_eq!(waiting(&bench, 2).await.for_, WaitingFor::Slot);
    let publishing = bench.claim().await;
    assert_eq!(publishing.lease.job.0, 2);
    bench.end(publishing.lease, done()).await;
    assert_eq!(bench.claimed_number().await, None, "the login is held as before");
    assert_eq!(waiting(&bench, 1).await.for_, WaitingFor::Login);
}

#[tokio::test]
async fn a_held_login_sends_one_probe_and_its_success_lifts_the_hold() {
    let bench = Bench::new(3);
    let client = bench.client("a").await;
    for branch in ["1", "2", "3"] {
        bench.submit(&client, branch).await;
    }
    let mut other = job(&client.id, "other");
    other.login = "codex".to_owned();
    bench.try_submit(other).await.unwrap();
    let until = bench.now() + Duration::from_secs(3_600);
    let lease = bench.claim().await.lease;
    let held = bench.end(lease, fault_until(ReasonCode::UsageLimit, Some(until))).await;
    let expected = Waiting::plain(WaitingFor::UsageLimit, Some(until));
    assert_eq!((held.waiting, held.job.attempts_counted), (Some(expected), 0));
    assert_eq!(waiting(&bench, 2).await, expected);
    assert_eq!(waiting(&bench, 4).await.for_, WaitingFor::Slot);
    assert_eq!(bench.claimed_number().await, Some(4), "another login goes on");
    assert_eq!(bench.claimed_number().await, None);
    assert_eq!(bench.store.next_due_in().await.unwrap(), Some(Duration::from_secs(3_600)));
    bench.clock.advance_ms(3_600_000);
    let probe = bench.claim().await.lease;
    assert_eq!(probe.job, lease.job);
    assert_eq!(bench.claimed_number().await, None, "the others wait for the probe");
    assert_eq!(waiting(&bench, 2).await.for_, WaitingFor::UsageLimit);
    bench.end(probe, done()).await;
    assert!(bench.store.accounts().await.unwrap().holds.is_empty());
    assert_eq!(bench.claimed_number().await, Some(2));
    assert_eq!(bench.claimed_number().await, Some(3));
}

#[tokio::test]
async fn a_hold_is_lifted_by_a_probe_that_worked_and_by_no_other() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    bench.submit(&client, "2").await;
    let lease = bench.claim().await.lease;
    bench.end(lease, fault(ReasonCode::NotLoggedIn)).await;
    assert_eq!(waiting(&bench, 2).await, Waiting::plain(WaitingFor::Login, None));
    bench.clock.advance_ms(86_400_000);
    assert_eq!(bench.claimed_number().await, None, "without a wake time nothing goes by itself");
    let since = bench.store.accounts().await.unwrap().holds[0].since;
    assert_eq!(bench.store.try_now(Some("nobody")).await.unwrap(), Vec::<String>::new());
    assert_eq!(bench.store.try_now(None).await.unwrap(), ["claude"]);
    let probe = bench.claim().await.lease;
    bench.end(probe, fault(ReasonCode::NotLoggedIn)).await;
    let holds = bench.store.accounts().await.unwrap().holds;
    assert_eq!((holds.len(), holds[0].probe, holds[0].since), (1, None, since));
    assert_eq!(bench.claimed_number().await, None);
    bench.store.try_now(Some("claude")).await.unwrap();
    // ends that say nothing about the login: the next one goes out
    for (phase, end) in [
        (Phase::Preparing, fault(ReasonCode::Stopped)),
        (Phase::Agent, fault(ReasonCode::Overloaded)),
        (Phase::Agent, fault(ReasonCode::Stopped)),
    ] {
        let probe = bench.claim().await.lease;
        bench.store.reach_phase(probe, phase).await.unwrap();
        bench.end(probe, end).await;
        let holds = bench.store.accounts().await.unwrap().holds;
        assert_eq!((holds.len(), holds[0].probe), (1, None));
        bench.clock.advance_ms(15_000);
    }
    let probe = bench.claim().await.lease;
    bench.store.reach_phase(probe, Phase::Agent).await.unwrap();
    answered(&bench, probe, EventKind::AgentMessage).await;
    bench.end(probe, fault(ReasonCode::VerifyFailed)).await;
    assert!(bench.store.accounts().await.unwrap().holds.is_empty());
    assert_eq!(bench.claimed_number().await, Some(2));
}

/// A job that was running before the hold reports the same fault while the probe is out.
#[tokio::test]
async fn a_straggler_does_not_forget_the_probe() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    bench.submit(&client, "2").await;
    let (first, straggler) = (bench.claim().await.lease, bench.claim().await.lease);
    bench.end(first, fault(ReasonCode::NotLoggedIn)).await;
    bench.store.try_now(None).await.unwrap();
    let probe = bench.claim().await.lease;
    bench.end(straggler, fault(ReasonCode::NotLoggedIn)).await;
    assert_eq!(bench.store.accounts().await.unwrap().holds[0].probe, Some(probe.job));
    bench.end(probe, done()).await;
    assert!(bench.store.accounts().await.unwrap().holds.is_empty());
    assert_eq!(bench.claimed_number().await, Some(2));
}

/// The server looks at a login by itself, and what it finds is less than what a job will.
#[tokio::test]
async fn a_look_at_the_login_does_not_forget_the_probe() {
    let bench = Bench::new(3);
    let client = bench.client("a").await;
    for branch in ["1", "2", "3"] {
        bench.submit(&client, branch).await;
    }
    let (first, straggler) = (bench.claim().await.lease, bench.claim().await.lease);
    assert!(!bench.store.try_what_looks_mended("claude").await.unwrap(), "nothing is held");
    bench.end(first, fault(ReasonCode::AgentMissing)).await;
    assert!(bench.store.try_what_looks_mended("claude").await.unwrap());
    let probe = bench.claim().await.lease;
    bench.end(straggler, fault(ReasonCode::AgentMissing)).await;
    assert!(!bench.store.try_what_looks_mended("claude").await.unwrap());
    assert_eq!(bench.claimed_number().await, None, "one probe at a time");
    bench.end(probe, done()).await;
    assert!(bench.store.accounts().await.unwrap().holds.is_empty(), "it was the probe, and it worked");
    // and a limit has an end of its own
    let lease = bench.claim().await.lease;
    bench.end(lease, fault(ReasonCode::UsageLimit)).await;
    assert!(!bench.store.try_what_looks_mended("claude").await.unwrap());
    assert_eq!(bench.claimed_number().await, None);
}

#[tokio::test]
async fn a_probe_survives_a_restart() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    bench.submit(&client, "2").await;
    let lease = bench.claim().await.lease;
    bench.end(lease, fault(ReasonCode::AgentMissing)).await;
    bench.store.try_now(None).await.unwrap();
    bench.claim().await;
    let later = bench.reopen();
    let adopted = later.adopt_running("boot").await.unwrap().remove(0);
    assert!(later.claim().await.unwrap().is_none());
    later.finish(adopted.lease, done(), |_| None).await.unwrap();
    assert_eq!(later.claim().await.unwrap().unwrap().lease.job, JobNumber(2));
}

/// Its client was given another agent between the look and the write.
#[tokio::test]
async fn a_job_is_for_the_agent_of_its_client_as_it_is_written() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    let options = RunOptions { agent: Some("sh".to_owned()), ..RunOptions::default() };
    let patch = ClientPatch { options: Some(options), ..ClientPatch::default() };
    bench.store.update_client(&client.id, patch).await.unwrap();
    let stale = job(&client.id, "1");
    assert_eq!(stale.login, "claude");
    assert_eq!(bench.try_submit(stale).await.unwrap().job.login, "sh");
}

/// Which limit it is goes along with the hold, and goes with it.
#[tokio::test]
async fn a_hold_names_the_limit_that_the_agent_has_named() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    bench.submit(&client, "2").await;
    let until = bench.now() + Duration::from_secs(3_600);
    let limit = |window| AttemptEnd::Faulted {
        reason: Reason::new(ReasonCode::UsageLimit, ""),
        until: Some(until),
        window: Some(window),
        spent: true,
    };
    let (first, straggler) = (bench.claim().await.lease, bench.claim().await.lease);
    let held = bench.end(first, limit(LimitWindow::FiveHour)).await;
    let expected =
        Waiting { for_: WaitingFor::UsageLimit, until: Some(until), window: Some(LimitWindow::FiveHour) };
    assert_eq!(held.waiting, Some(expected));
    let window = async || bench.store.accounts().await.unwrap().holds[0].window;
    assert_eq!(window().await, Some(LimitWindow::FiveHour));
    bench.end(straggler, limit(LimitWindow::Weekly)).await;
    assert_eq!(
        (window().await, waiting(&bench, 1).await.window),
        (Some(LimitWindow::Weekly), Some(LimitWindow::Weekly))
    );
    bench.store.try_now(None).await.unwrap();
    let probe = bench.claim().await.lease;
    bench.end(probe, fault(ReasonCode::NotLoggedIn)).await;
    assert_eq!((window().await, waiting(&bench, 1).await), (None, Waiting::plain(WaitingFor::Login, None)));
}

/// The agent has said something of this kind.
async fn answered(bench: &Bench, lease: Lease, event: EventKind) {
    bench.store.begin_step(lease, "agent-1").await.unwrap();
    let said =
        IngestedMessage { event, ..IngestedMessage::output(MessageKind::Stdout, "so".into(), bench.now()) };
    bench.store.ingest(lease, "agent-1", Ingest { messages: vec![said], log_records: 1 }).await.unwrap();
}

fn limit(until: Option<Timestamp>, window: Option<LimitWindow>) -> AttemptEnd {
    AttemptEnd::Faulted { reason: Reason::new(ReasonCode::UsageLimit, ""), until, window, spent: true }
}

/// Whatever ended it: what the model has not answered shows nothing of its login.
#[tokio::test]
async fn a_probe_that_the_model_has_not_answered_lifts_nothing() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    let (message, output) = (EventKind::AgentMessage, EventKind::AgentOutput);
    let vain = [
        (ReasonCode::MaxBudget, None),
        (ReasonCode::SecretMissing, None),
        (ReasonCode::PermissionDenied, None),
        (ReasonCode::Internal, None),
        (ReasonCode::IdleTimeout, Some(output)),
        (ReasonCode::Timeout, Some(EventKind::AgentProgress)),
        // the agent itself says that its API has failed
        (ReasonCode::ApiError, Some(message)),
        (ReasonCode::Crashed, Some(output)),
        (ReasonCode::Crashed, None),
    ];
    for number in 0..vain.len() + 2 {
        bench.submit(&client, &format!("b-{number}")).await;
    }
    let until = bench.now() + Duration::from_secs(60);
    let first = bench.claim().await.lease;
    bench.end(first, limit(Some(until), None)).await;
    bench.clock.advance_ms(60_000);
    for (code, said) in vain {
        let probe = bench.claim().await.lease;
        assert_eq!(bench.claimed_number().await, None, "one at a time");
        bench.store.reach_phase(probe, Phase::Agent).await.unwrap();
        if let Some(event) = said {
            answered(&bench, probe, event).await;
        }
        bench.end(probe, fault(code)).await;
        let holds = bench.store.accounts().await.unwrap().holds;
        assert_eq!((holds.len(), holds[0].probe), (1, None), "{code}");
    }
    let tokens = Usage { output_tokens: 7, ..Usage::default() };
    let probe = bench.claim().await.lease;
    bench.store.record_usage(probe, "agent-1", None, tokens).await.unwrap();
    bench.end(probe, fault(ReasonCode::ApiError)).await;
    assert!(bench.store.accounts().await.unwrap().holds.is_empty(), "it was answered and paid");
}

/// One that was missing and now runs works, whatever it came to.
#[tokio::test]
async fn an_agent_that_was_missing_has_only_to_run() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    for branch in ["1", "2"] {
        bench.submit(&client, branch).await;
    }
    let lease = bench.claim().await.lease;
    bench.end(lease, fault(ReasonCode::AgentMissing)).await;
    for runs in [false, true] {
        bench.store.try_now(None).await.unwrap();
        let probe = bench.claim().await.lease;
        bench.store.begin_step(probe, "agent-1").await.unwrap();
        if runs {
            bench.store.record_shim(probe, "agent-1", "{}".to_owned(), 1).await.unwrap();
        }
        bench.end(probe, fault(ReasonCode::Crashed)).await;
        assert_eq!(bench.store.accounts().await.unwrap().holds.is_empty(), runs);
    }
}

/// A job that was running before the hold tells of another limit, or of an old end.
#[tokio::test]
async fn of_two_limits_the_one_that_ends_later_counts_unless_the_probe_knows_better() {
    let bench = Bench::new(6);
    let client = bench.client("a").await;
    let mut running = Vec::new();
    for branch in ["1", "2", "3", "4", "5"] {
        bench.submit(&client, branch).await;
        running.push(bench.claim().await.lease);
    }
    let after = |hours: u64| Some(bench.now() + Duration::from_secs(hours * 3_600));
    let (five, weekly) = (Some(LimitWindow::FiveHour), Some(LimitWindow::Weekly));
    let mut ends = async |told, window| {
        bench.end(running.remove(0), limit(told, window)).await;
        let hold = bench.store.accounts().await.unwrap().holds.remove(0);
        (hold.until, hold.window)
    };
    assert_eq!(ends(after(72), weekly).await, (after(72), weekly));
    assert_eq!(ends(after(1), five).await, (after(72), weekly));
    // nobody knows when, and one that is past
    assert_eq!(ends(None, None).await, (after(72), weekly));
    assert_eq!(ends(Some(bench.now()), five).await, (after(72), weekly));
    assert_eq!(ends(after(96), weekly).await, (after(96), weekly));
    bench.store.try_now(None).await.unwrap();
    let probe = bench.claim().await.lease;
    bench.end(probe, limit(after(2), five)).await;
    let hold = bench.store.accounts().await.unwrap().holds.remove(0);
    assert_eq!((hold.until, hold.window), (after(2), five));
}

#[tokio::test]
async fn a_login_that_is_being_tried_is_not_tried_by_another_job() {
    let bench = Bench::new(3);
    let client = bench.client("a").await;
    for branch in ["1", "2", "3"] {
        bench.submit(&client, branch).await;
    }
    let lease = bench.claim().await.lease;
    bench.end(lease, limit(Some(bench.now() + Duration::from_secs(3_600)), None)).await;
    assert_eq!(bench.store.try_now(None).await.unwrap(), ["claude"]);
    let probe = bench.claim().await.lease;
    for _ in 0..3 {
        assert_eq!(bench.store.try_now(Some("claude")).await.unwrap(), Vec::<String>::new());
        assert_eq!(bench.claimed_number().await, None, "one probe at a time");
    }
    bench.end(probe, fault(ReasonCode::Stopped)).await;
    assert!(bench.claimed_number().await.is_some(), "it is due as before");
}

/// It was to be published without an agent, and that does not do.
#[tokio::test]
async fn a_turn_that_nobody_had_thought_of_waits_for_the_login_or_is_its_probe() {
    let bench = Bench::new(3);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let begun = bench.claim().await.lease;
    bench.store.begin_step(begun, "agent-1").await.unwrap();
    bench.store.record_shim(begun, "agent-1", "{}".to_owned(), 1).await.unwrap();
    bench.submit(&client, "2").await;
    let limited = bench.claim().await.lease;
    assert!(bench.store.may_use_login(limited).await.unwrap(), "nothing is held");
    bench.end(limited, limit(Some(bench.now() + Duration::from_secs(3_600)), None)).await;
    assert!(bench.store.may_use_login(begun).await.unwrap(), "who has begun goes on");
    bench.end(begun, fault(ReasonCode::VerifyFailed)).await;
    let publishing = async |branch: &str| {
        let (base_sha, head_sha) = ("b".repeat(40), "c".repeat(40));
        let start = Start::Publish { base_sha, head_sha, or_agent: true };
        bench.try_submit(NewJob { start, ..job(&client.id, branch) }).await.unwrap();
        let lease = bench.claim().await.lease;
        bench.store.start_over(lease).await.unwrap();
        lease
    };
    let torn = publishing("3").await;
    assert!(!bench.store.may_use_login(torn).await.unwrap());
    let back = bench.end(torn, AttemptEnd::Held).await;
    assert_eq!((back.job.attempts_counted, back.waiting.unwrap().for_), (0, WaitingFor::UsageLimit));
    assert_eq!(bench.claimed_number().await, None);
    let late = publishing("4").await;
    bench.clock.advance_ms(3_600_000);
    assert!(bench.store.may_use_login(late).await.unwrap());
    assert_eq!(bench.store.accounts().await.unwrap().holds[0].probe, Some(late.job));
    assert_eq!(bench.claimed_number().await, None, "it is the probe");
    bench.end(late, done()).await;
    assert!(bench.store.accounts().await.unwrap().holds.is_empty());
}

/// The five hours are over in the night, the week is not: whoever was told of the first has to hear of the second, once.
#[tokio::test]
async fn people_are_told_of_another_limit_and_not_of_the_same_one_again() {
    let mut bench = Bench::new(2);
    let phone = Subscription { name: "phone".to_owned(), on: vec![Occasion::Held] };
    bench.store = bench.store.with_subscriptions(vec![phone]);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let (five, weekly) = (Some(LimitWindow::FiveHour), Some(LimitWindow::Weekly));
    let mut told = 0;
    for (hours, window, title) in [
        (5, None, Some("claude is held: usage limit")),
        (5, five, Some("claude is held: five-hour limit")),
        (5, five, None),
        (72, weekly, Some("claude is held: weekly limit")),
        (96, weekly, None),
        // it does not say which
        (96, None, None),
        (97, weekly, None),
    ] {
        let lease = bench.claim().await.lease;
        let until = bench.now() + Duration::from_secs(hours * 3_600);
        bench.end(lease, limit(Some(until), window)).await;
        let all = bench.store.list_deliveries(JobNumber(1)).await.unwrap();
        assert_eq!(all.len() - told, usize::from(title.is_some()), "{hours} {window:?}");
        if let Some(title) = title {
            let body: serde_json::Value = serde_json::from_slice(&all[told].delivery.body).unwrap();
            assert_eq!(body["title"], title);
        }
        told = all.len();
        bench.store.try_now(None).await.unwrap();
    }
    let probe = bench.claim().await.lease;
    bench.end(probe, done()).await;
    let kinds: Vec<_> = bench.store.list_deliveries(JobNumber(1)).await.unwrap();
    let kinds: Vec<_> = kinds.iter().map(|one| one.delivery.kind.as_str()).collect();
    assert_eq!(kinds, ["notice.held", "notice.held", "notice.held", "notice.resumed"]);
}
