//! Words for agents in the store: which turn they go to, and what stands between them and the commit.

use offshoot::domain::id::{JobNumber, JobRef};
use offshoot::domain::inward::{Unheard, Word};
use offshoot::domain::job::{Chain, JobView, NewJob, Phase, Start};
use offshoot::domain::reason::ReasonCode;
use offshoot::store::{Left, Store, StoreError};

use crate::store_fixture::{Bench, fault, job};

async fn say(store: &Store, job: JobNumber, name: &str, text: &str) -> Result<(), Unheard> {
    let word = Word::Message { name: Some(name.to_owned()), text: text.to_owned() };
    answer(store.say_to_agent(&JobRef::Number(job), word, "admin").await)
}

async fn interrupt(store: &Store, job: JobNumber) -> Result<(), Unheard> {
    answer(store.say_to_agent(&JobRef::Number(job), Word::Interrupt, "admin").await)
}

fn answer(said: Result<JobNumber, StoreError>) -> Result<(), Unheard> {
    match said {
        Ok(_) => Ok(()),
        Err(StoreError::Unheard(why)) => Err(why),
        Err(error) => panic!("{error}"),
    }
}

/// To whom each word was given last, by its number.
async fn given(store: &Store, job: JobNumber) -> Vec<Option<(u32, String)>> {
    store.said_to_agent(job).await.unwrap().into_iter().map(|said| said.given_to).collect()
}

fn to(attempt: u32, step: &str) -> Option<(u32, String)> {
    Some((attempt, step.to_owned()))
}

#[tokio::test]
async fn a_word_goes_to_the_next_turn_and_no_commit_overtakes_it() {
    let bench = Bench::new(1);
    let (store, client) = (&bench.store, bench.client("a").await);
    let number = bench.submit(&client, "1").await.job.number;
    assert_eq!(interrupt(store, number).await, Err(Unheard::NothingRuns));
    assert_eq!(say(store, number, "a", "one").await, Ok(()));
    let lease = bench.claim().await.lease;
    store.begin_turn(lease, "agent-1", 1).await.unwrap();
    store.reach_phase(lease, Phase::Agent).await.unwrap();
    // what comes after its prompt was written is not in it
    assert_eq!(say(store, number, "b", "two").await, Ok(()));
    assert_eq!(given(store, number).await, [to(1, "agent-1"), None]);
    assert_eq!(store.leave_agent(lease).await.unwrap(), Left::Unheard);
    assert_eq!(bench.view(number).await.job.phase, Phase::Agent);
    store.begin_turn(lease, "agent-1-2", 2).await.unwrap();
    assert_eq!(given(store, number).await, [to(1, "agent-1"), to(1, "agent-1-2")]);
    // an interruption is no reason for a turn of its own once the turn has ended
    assert!(!store.is_interrupted(lease).await.unwrap());
    assert_eq!((interrupt(store, number).await, interrupt(store, number).await), (Ok(()), Ok(())));
    assert!(store.is_interrupted(lease).await.unwrap());
    assert_eq!(given(store, number).await.len(), 3, "the same one");
    assert_eq!(store.leave_agent(lease).await.unwrap(), Left::Yes);
    assert_eq!(bench.view(number).await.job.phase, Phase::Committing);
    assert_eq!(say(store, number, "c", "three").await, Err(Unheard::Publishing));
    assert_eq!(say(store, number, "b", "two").await, Ok(()), "accepted before");
    assert_eq!(say(store, number, "b", "too").await, Err(Unheard::NameTaken));
    // the next attempt has not heard any of it
    bench.end(lease, fault(ReasonCode::Stopped)).await;
    let lease = bench.claim().await.lease;
    store.begin_turn(lease, "agent-1", 3).await.unwrap();
    assert_eq!(given(store, number).await, vec![to(2, "agent-1"); 3]);
    assert!(!store.is_interrupted(lease).await.unwrap());
    bench.cancel(number).await.unwrap();
    assert_eq!(say(store, number, "d", "four").await, Err(Unheard::Over));
}

async fn warns(bench: &Bench, job: JobNumber) -> bool {
    bench.view(job).await.job.warnings.iter().any(|warning| warning.contains("came too late"))
}

fn retry(of: &JobView, prompt: &str) -> NewJob {
    let mut new = job(&of.job.client_id, of.job.request.branch.as_str());
    new.request.prompt = prompt.to_owned();
    new.chain = Some(Chain { root: of.job.id.clone(), original: Some(of.job.id.clone()), parent: None });
    new
}

#[tokio::test]
async fn whatever_ends_a_job_says_what_its_agent_was_not_told_and_a_retry_is_told() {
    let bench = Bench::new(9);
    let (store, client) = (&bench.store, bench.client("a").await);
    // one that is cancelled while it waits, and one that fails with what it depends on
    let waits = bench.submit(&client, "1").await;
    let mut new = job(&client.id, "2");
    new.request.depends_on = vec![waits.job.id.clone()];
    let depends = bench.try_submit(new).await.unwrap();
    for job in [waits.job.number, depends.job.number] {
        assert_eq!(say(store, job, "m", "one").await, Ok(()));
    }
    bench.cancel(waits.job.number).await.unwrap();
    assert!(warns(&bench, waits.job.number).await && warns(&bench, depends.job.number).await);
    let again = bench.try_submit(retry(&waits, &waits.job.request.prompt)).await.unwrap().job.number;
    assert_eq!(given(store, again).await, [None]);
    // told, so there is nothing to say
    let lease = bench.claim().await.lease;
    store.begin_turn(lease, "agent-1", 9).await.unwrap();
    bench.end(lease, fault(ReasonCode::VerifyFailed)).await;
    assert!(!warns(&bench, again).await);
    // whoever has something else to ask for has said the last word
    let other = bench.try_submit(retry(&depends, "Something else")).await.unwrap().job.number;
    assert_eq!(given(store, other).await, []);
    // where no agent runs, none was to be told
    let mut new = retry(&waits, &waits.job.request.prompt);
    new.start = Start::Publish { base_sha: "a".repeat(40), head_sha: "b".repeat(40), or_agent: false };
    let publishes = bench.try_submit(new).await.unwrap().job.number;
    bench.cancel(publishes).await.unwrap();
    assert!(!warns(&bench, publishes).await);
}
