//! What people read of a job: order, places in the transcript, limits, and what a crash leaves of them.

use std::fs;

use offshoot::domain::attempt::Lease;
use offshoot::domain::event::MessageKind::{Stderr, Stdout, System};
use offshoot::domain::id::JobNumber;
use offshoot::domain::reason::ReasonCode;
use offshoot::domain::token::Reach;
use offshoot::store::{Ingest, IngestedMessage, Store};

use crate::store_fixture::{Bench, fault};

async fn running(bench: &Bench) -> Lease {
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let lease = bench.claim().await.lease;
    bench.store.begin_step(lease, "agent-1").await.unwrap();
    lease
}

async fn ingest(bench: &Bench, lease: Lease, texts: &[&str], log_records: u64) {
    let messages =
        texts.iter().map(|text| IngestedMessage::output(Stdout, (*text).to_owned(), bench.now())).collect();
    bench.store.ingest(lease, "agent-1", Ingest { messages, log_records }).await.unwrap();
}

async fn contents(store: &Store) -> Vec<(i64, String)> {
    let page = store.newest_messages(JobNumber(1)).await.unwrap();
    page.messages.into_iter().map(|message| (message.seq, message.content)).collect()
}

fn numbered(texts: &[&str]) -> Vec<(i64, String)> {
    (1..).zip(texts.iter().map(|text| (*text).to_owned())).collect()
}

#[tokio::test]
async fn messages_of_all_kinds_and_attempts_stand_in_one_order() {
    let bench = Bench::new(1);
    let lease = running(&bench).await;
    bench.store.add_system_message(lease, "worktree ready").await.unwrap();
    ingest(&bench, lease, &["größer", "", "zwei\nZeilen"], 3).await;
    assert_eq!(bench.view(lease.job).await.job.attempt, 1);
    bench.end(lease, fault(ReasonCode::Stopped)).await;
    let second = bench.claim().await.lease;
    bench.store.begin_step(second, "agent-1").await.unwrap();
    let message = IngestedMessage::output(Stderr, "again".to_owned(), bench.now());
    let more = Ingest { messages: vec![message], log_records: 1 };
    bench.store.ingest(second, "agent-1", more).await.unwrap();
    bench.store.add_system_message(second, "pushed").await.unwrap();
    let all = numbered(&["worktree ready", "größer", "", "zwei\nZeilen", "again", "pushed"]);
    assert_eq!(contents(&bench.store).await, all);
    let page = bench.store.newest_messages(lease.job).await.unwrap();
    assert!(!page.truncated);
    let kinds: Vec<_> = page.messages.iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [System, Stdout, Stdout, Stdout, Stderr, System]);
    let steps = bench.store.list_steps(lease.job, 1).await.unwrap();
    assert_eq!(steps[0].log_records, 3);
    assert_eq!(contents(&bench.reopen()).await, all);
}

/// The text reached the file, its row did not: it is cut off and taken again.
#[tokio::test]
async fn an_interrupted_append_is_taken_again_without_a_double() {
    let bench = Bench::new(1);
    let lease = running(&bench).await;
    ingest(&bench, lease, &["one"], 1).await;
    let transcript = bench.store.logs().attempt_dir(lease.job, 1).join("transcript");
    let mut text = fs::read(&transcript).unwrap();
    text.extend_from_slice(b"two, half writ");
    fs::write(&transcript, text).unwrap();
    ingest(&bench, lease, &["two", "three"], 3).await;
    assert_eq!(contents(&bench.store).await, numbered(&["one", "two", "three"]));
    let page = bench.store.event_page(Some(lease.job), &Reach::WHOLE, 0).await.unwrap();
    let told = page.events.into_iter().filter(|told| told.event.kind.is_told());
    let told: Vec<_> = told.map(|told| (told.event.message.unwrap(), told.text.unwrap())).collect();
    assert_eq!(told, contents(&bench.store).await, "each message is one event");
    assert_eq!(fs::read_to_string(&transcript).unwrap(), "one\ntwo\nthree\n");
}

/// Rows are durable, the text beside them is not: after a power cut what is missing is said to be.
#[tokio::test]
async fn lost_text_is_named_and_later_text_is_whole() {
    let bench = Bench::new(1);
    let lease = running(&bench).await;
    ingest(&bench, lease, &["kept", "lost"], 2).await;
    let transcript = bench.store.logs().attempt_dir(lease.job, 1).join("transcript");
    fs::write(&transcript, "kept").unwrap();
    let lost = "(this output was lost in a power failure)";
    assert_eq!(contents(&bench.store).await, numbered(&["kept", lost]));
    ingest(&bench, lease, &["later"], 3).await;
    assert_eq!(contents(&bench.store).await, numbered(&["kept", lost, "later"]));
}

#[tokio::test]
async fn the_newest_five_thousand_are_shown_and_older_ones_named() {
    let bench = Bench::new(1);
    let lease = running(&bench).await;
    let texts: Vec<_> = (1..=5_000).map(|n| n.to_string()).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    ingest(&bench, lease, &texts, 5_000).await;
    let page = bench.store.newest_messages(lease.job).await.unwrap();
    assert_eq!((page.messages.len(), page.truncated), (5_000, false));
    ingest(&bench, lease, &["5001"], 5_001).await;
    let page = bench.store.newest_messages(lease.job).await.unwrap();
    assert_eq!((page.messages.len(), page.truncated), (5_000, true));
    assert_eq!((page.messages[0].seq, page.messages[4_999].content.as_str()), (2, "5001"));
    let older = bench.store.messages(lease.job, 0, 3).await.unwrap();
    assert!(older.messages.iter().map(|message| message.seq).eq(1..=3));
}

#[tokio::test]
async fn four_mebibytes_are_the_most_of_an_answer() {
    let bench = Bench::new(1);
    let lease = running(&bench).await;
    let big = "x".repeat(1_024 * 1_024);
    ingest(&bench, lease, &[&big, &big, &big, &big], 4).await;
    let page = bench.store.newest_messages(lease.job).await.unwrap();
    assert_eq!((page.messages.len(), page.truncated), (4, false));
    ingest(&bench, lease, &["y"], 5).await;
    let page = bench.store.newest_messages(lease.job).await.unwrap();
    assert_eq!((page.messages.len(), page.truncated), (4, true));
    assert_eq!((page.messages[0].seq, page.messages[3].content.as_str()), (2, "y"));
    let first = bench.store.messages(lease.job, 0, 100).await.unwrap();
    assert_eq!((first.messages.len(), first.truncated), (4, true));
    let rest = bench.store.messages(lease.job, 4, 100).await.unwrap();
    assert_eq!((rest.messages.len(), rest.truncated), (1, false));
}

/// One message larger than an answer must not stop a reader of pages.
#[tokio::test]
async fn a_message_that_is_larger_than_an_answer_is_passed() {
    let bench = Bench::new(1);
    let lease = running(&bench).await;
    let huge = "x".repeat(4 * 1_024 * 1_024 + 1);
    ingest(&bench, lease, &[&huge, "y"], 2).await;
    let page = bench.store.messages(lease.job, 0, 100).await.unwrap();
    assert_eq!((page.messages.len(), page.truncated), (1, true));
    let rest = bench.store.messages(lease.job, page.messages[0].seq, 100).await.unwrap();
    assert_eq!((rest.messages.len(), rest.messages[0].content.as_str()), (1, "y"));
}

#[tokio::test]
async fn a_warning_is_kept_once() {
    let bench = Bench::new(1);
    let lease = running(&bench).await;
    for warning in ["no reviewers", "no reviewers", "no labels"] {
        bench.store.add_warning(lease, warning).await.unwrap();
    }
    assert_eq!(bench.view(lease.job).await.job.warnings, ["no reviewers", "no labels"]);
}
