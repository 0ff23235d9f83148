//! Which failures are called poisoned: the server died in each counted attempt, without leaving and without the machine.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use offshoot::domain::attempt::{AttemptEnd, Lease};
use offshoot::domain::job::{Phase, Status};
use offshoot::domain::options::RunOptions;
use offshoot::domain::reason::{Reason, ReasonCode};
use offshoot::store::Store;

use crate::store_fixture::Bench;

/// How one attempt comes to its end.
#[derive(Clone, Copy, PartialEq)]
enum Life {
    /// Its server dies in it, and another one of the same machine ends it.
    Dies,
    /// Its server leaves in order, and the next one ends it.
    Leaves,
    /// The machine is restarted.
    Reboots,
    /// One server from beginning to end.
    Lives,
}

async fn interrupt(store: &Store, lease: Lease) -> (Status, ReasonCode) {
    let reason = Reason::new(ReasonCode::Interrupted, "");
    let end = AttemptEnd::Faulted { reason, until: None, window: None, spent: true };
    let job = store.finish(lease, end, |_| None).await.unwrap().job;
    (job.status, job.reason.unwrap().code)
}

/// The last end of a job with three attempts.
async fn ends(lives: [Life; 3]) -> (Status, ReasonCode) {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "b").await;
    let mut store = bench.store.clone();
    let mut boots = 1;
    store.adopt_running("boot-1").await.unwrap();
    let mut last = None;
    for life in lives {
        let mut lease = store.claim().await.unwrap().unwrap().lease;
        if life != Life::Lives {
            if life == Life::Leaves {
                store.note_orderly_stop().await.unwrap();
            }
            boots += u32::from(life == Life::Reboots);
            drop(store);
            store = bench.reopen();
            lease = store.adopt_running(&format!("boot-{boots}")).await.unwrap().remove(0).lease;
        }
        last = Some(interrupt(&store, lease).await);
    }
    last.unwrap()
}

#[tokio::test]
async fn only_a_job_whose_every_attempt_took_a_server_down_is_poisoned() {
    use Life::{Dies, Leaves, Lives, Reboots};
    for (lives, code) in [
        ([Dies, Dies, Dies], ReasonCode::Poisoned),
        ([Lives, Lives, Lives], ReasonCode::Interrupted),
        ([Dies, Dies, Lives], ReasonCode::Interrupted),
        ([Dies, Leaves, Dies], ReasonCode::Interrupted),
        ([Reboots, Dies, Dies], ReasonCode::Interrupted),
        ([Dies, Dies, Reboots], ReasonCode::Interrupted),
    ] {
        assert_eq!(ends(lives).await, (Status::Failed, code));
    }
}

#[tokio::test]
async fn deaths_in_a_row_are_counted_from_the_look_at_its_agents_end_until_the_attempt_comes_forward() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "b").await;
    let mut store = bench.store.clone();
    store.adopt_running("boot").await.unwrap();
    let mut lease = store.claim().await.unwrap().unwrap().lease;
    // its agent runs in the first two lives, and ends while no server is there
    for (agent_ended, deaths) in [(false, 0), (false, 0), (true, 0), (true, 1), (true, 2), (true, 3)] {
        assert_eq!(store.server_deaths_in_a_row(lease).await.unwrap(), deaths);
        store.record_options(lease, &RunOptions::default(), "none", agent_ended).await.unwrap();
        store = bench.reopen();
        lease = store.adopt_running("boot").await.unwrap().remove(0).lease;
    }
    assert_eq!(store.server_deaths_in_a_row(lease).await.unwrap(), 4);
    store.reach_phase(lease, Phase::Committing).await.unwrap();
    assert_eq!(store.server_deaths_in_a_row(lease).await.unwrap(), 0);
    // from there on the next one that dies may have died over what the agent left
    store = bench.reopen();
    lease = store.adopt_running("boot").await.unwrap().remove(0).lease;
    assert_eq!(store.server_deaths_in_a_row(lease).await.unwrap(), 1);
    // and while it is looked over the agent's work is not judged yet
    store.reach_phase(lease, Phase::Verifying).await.unwrap();
    store = bench.reopen();
    lease = store.adopt_running("boot").await.unwrap().remove(0).lease;
    assert_eq!(store.server_deaths_in_a_row(lease).await.unwrap(), 0);
}
