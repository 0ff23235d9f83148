//! Conversations of one id in one chain: whose they are, and what is left of one that was forgotten.

use offshoot::domain::attempt::Lease;
use offshoot::domain::client::{Client, ClientPatch};
use offshoot::domain::job::{Chain, Effects, Job, NewJob, Start, Usage};
use offshoot::domain::options::RunOptions;
use offshoot::domain::reason::ReasonCode;
use offshoot::domain::token::Reach;
use offshoot::store::{Forgotten, SessionFilter, SessionName};

use crate::life_sessions::places_in;
use crate::store_fixture::{Bench, done, fault, job};

const ID: &str = "conversation-of-many";

fn of_agent(agent: &str) -> RunOptions {
    RunOptions { agent: Some(agent.to_owned()), ..RunOptions::default() }
}

/// Submits what follows up `before`, or begins a chain.
pub(crate) async fn submit(bench: &Bench, client: &Client, before: Option<&Job>) -> Job {
    let chain = before.map(|before| Chain {
        root: before.chain.root.clone(),
        original: None,
        parent: Some(before.id.clone()),
    });
    let start = if chain.is_some() { Start::Resume { session_id: None } } else { Start::Agent };
    bench.try_submit(NewJob { chain, start, ..job(&client.id, "b") }).await.unwrap().job
}

/// The newest attempt is one of this agent, in this conversation.
pub(crate) async fn works(bench: &Bench, agent: &str, session: &str) -> Lease {
    let lease = bench.claim().await.lease;
    bench.store.record_options(lease, &of_agent(agent), "none", false).await.unwrap();
    let effects = Effects { session_id: Some(session.to_owned()), ..Effects::default() };
    bench.store.record_effects(lease, effects).await.unwrap();
    let used = Usage { turns: 1, input_tokens: 10, ..Usage::default() };
    bench.store.record_usage(lease, "agent-1", Some(session), used).await.unwrap();
    lease
}

async fn give(bench: &Bench, client: &Client, agent: &str) {
    let patch = ClientPatch { options: Some(of_agent(agent)), ..ClientPatch::default() };
    bench.store.update_client(&client.id, patch).await.unwrap();
}

async fn forget(bench: &Bench, root: Option<&Job>, agent: Option<&str>) -> Forgotten {
    let (root, agent) = (root.map(|job| job.id.clone()), agent.map(str::to_owned));
    let name = SessionName { id: ID.to_owned(), root, agent, reach: Reach::WHOLE };
    bench.store.delete_session(name).await.unwrap()
}

/// The second job of a chain was stopped in the conversation of the first; its owner gave it another agent. It waits.
async fn stopped_and_given_away() -> (Bench, Job) {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    let first = submit(&bench, &client, None).await;
    bench.end(works(&bench, "claude", ID).await, done()).await;
    let second = submit(&bench, &client, Some(&first)).await;
    bench.end(works(&bench, "claude", ID).await, fault(ReasonCode::Stopped)).await;
    give(&bench, &client, "other").await;
    (bench, second)
}

/// Places in the database where the id stands.
fn places(bench: &Bench) -> Vec<String> {
    places_in(&bench.dir.path().join("offshoot.db"), ID)
}

/// Who holds a conversation of that id, the newest first.
async fn holders(bench: &Bench) -> Vec<String> {
    let all = SessionFilter { client: None, reach: Reach::WHOLE, after: None, limit: 200 };
    let (found, _) = bench.store.session_page(all).await.unwrap();
    found.into_iter().filter(|one| one.id == ID).map(|one| one.agent).collect()
}

#[tokio::test]
async fn of_two_conversations_of_one_chain_the_agent_says_which_is_meant() {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    let first = submit(&bench, &client, None).await;
    bench.end(works(&bench, "claude", ID).await, done()).await;
    give(&bench, &client, "other").await;
    let second = submit(&bench, &client, Some(&first)).await;
    bench.end(works(&bench, "other", ID).await, done()).await;
    let both = ["other", "claude"].map(|agent| (first.id.clone(), agent.to_owned())).to_vec();
    for root in [None, Some(&first)] {
        assert_eq!(forget(&bench, root, None).await, Forgotten::NotOne { holders: both.clone() });
    }
    assert_eq!(forget(&bench, Some(&first), Some("claude")).await, Forgotten::All { jobs: 1 });
    assert_eq!(holders(&bench).await, ["other"]);
    assert_eq!(bench.view(first.number).await.job.effects.session_id, None);
    assert_eq!(bench.view(second.number).await.job.effects.session_id.as_deref(), Some(ID));
    let root = &first.chain.root;
    let held = async |agent| bench.store.has_held_session(root, ID, agent).await.unwrap();
    assert_eq!((held("other").await, held("claude").await), (Some(true), Some(false)));
    assert_eq!(forget(&bench, None, None).await, Forgotten::All { jobs: 1 });
    assert_eq!(places(&bench), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_forgotten_goes_out_of_attempts_of_jobs_that_have_another_agent_by_now() {
    let (bench, second) = stopped_and_given_away().await;
    let lease = works(&bench, "other", "its-own").await;
    assert_eq!((lease.job, lease.attempt), (second.number, 2));
    bench.end(lease, done()).await;
    assert_eq!(holders(&bench).await, ["claude"]);
    assert_eq!(forget(&bench, None, None).await, Forgotten::All { jobs: 1 });
    assert_eq!(places(&bench), Vec::<String>::new());
    assert_eq!(bench.view(second.number).await.job.effects.session_id.as_deref(), Some("its-own"));
}

/// The job that waits is no proof that its new agent has ever held it, and must not become one.
#[tokio::test]
async fn a_job_that_waits_for_another_agent_does_not_take_over_what_is_forgotten() {
    let (bench, second) = stopped_and_given_away().await;
    assert_eq!(holders(&bench).await, ["other", "claude"], "as far as its jobs tell");
    assert_eq!(forget(&bench, None, Some("claude")).await, Forgotten::All { jobs: 1 });
    assert_eq!(places(&bench), Vec::<String>::new());
    let waits = bench.view(second.number).await.job;
    assert_eq!((waits.start, waits.effects.session_id), (Start::Resume { session_id: None }, None));
}
