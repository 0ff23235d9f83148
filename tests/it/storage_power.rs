//! Every answered write survives a power cut at any moment; after a failed sync nothing is promised any more.

use std::path::Path;
use std::sync::Arc;

use offshoot::clock::Clock;
use offshoot::domain::client::Client;
use offshoot::domain::id::{JobNumber, JobRef};
use offshoot::domain::job::Status;
use offshoot::store::{Limits, Store, StoreError};

use crate::bad_disk::power::{Cut, Dice};
use crate::bad_disk::{Disk, Op, Promise, quick_dir};
use crate::store_fixture::{Bench, NOW_MS, callback, done, job};

const LIMITS: Limits =
    Limits { running_max: 2, running_per_client_max: None, queued_max: 1_000, disk_free_bytes_min: 0 };

fn open(disk: &Disk, dir: &Path) -> Result<Store, StoreError> {
    Store::open_through(Some(&disk.name), dir, Clock::manual(NOW_MS, 9), LIMITS)
}

/// Submits and ends jobs in groups of a few at once, long enough that the log is folded in more than once. A promise is
/// noted when its answer has come.
async fn work(disk: &Arc<Disk>, store: &Store, client: &Client, dice: &mut Dice) {
    let mut next = 0;
    for _ in 0..60 {
        let group = 1 + dice.below(6);
        let submits = (next..next + group).map(|n| async move {
            let mut new = job(&client.id, &format!("b/{n}"));
            new.request.prompt = format!("job {n} ").repeat(1_500);
            new.request.callback_url = Some("https://example.org/hook".to_owned());
            let view = store.submit_job(new, None, |_| None).await.unwrap();
            disk.promise(Promise::Submitted(view.job.number.0));
        });
        futures_util::future::join_all(submits).await;
        next += group;
        if dice.below(2) == 0
            && let Some(assignment) = store.claim().await.unwrap()
        {
            let number = assignment.lease.job;
            let told = move |_: &_| Some(callback(&number.to_string(), "https://example.org/hook"));
            store.finish(assignment.lease, done(), told).await.unwrap();
            disk.promise(Promise::Ended(number.0));
        }
    }
}

async fn recorded(seed: u64) -> Vec<Op> {
    let (disk, dir) = (Disk::new(), quick_dir());
    disk.remember();
    let store = open(&disk, dir.path()).unwrap();
    let client = Bench::client_of(&store, "widgets").await;
    work(&disk, &store, &client, &mut Dice(seed)).await;
    drop(store);
    let log = dir.path().join("offshoot.db-wal");
    // the last one out folds the log in and removes it: its moments count too
    let closed = async || (!log.exists()).then_some(());
    crate::stand::poll(std::time::Duration::from_secs(20), closed).await.expect("the writer leaves the file");
    disk.remembered()
}

/// Gives how many moments were looked at.
async fn cut_often(seed: u64, cuts: usize) -> usize {
    let ops = recorded(seed).await;
    let folded = |op: &&Op| matches!(op, Op::Sync { file } if file == "offshoot.db");
    assert!(ops.iter().filter(folded).count() >= 3, "the log is folded in on the way");
    let mut dice = Dice(seed ^ 0xface);
    for cut in 0..cuts {
        // the first moments are those of the file's birth
        let moment = if cut % 10 == 0 { dice.below(120) } else { dice.below(ops.len() + 1) };
        let at = format!("seed {seed}, cut {cut}, after {moment} of {} operations", ops.len());
        let left = Cut::after(&ops, moment, &mut dice);
        let dir = quick_dir();
        left.lay_out(dir.path());
        let store = Store::open(dir.path(), Clock::manual(NOW_MS, 9), LIMITS);
        let store = store.unwrap_or_else(|error| panic!("{at}: {error}"));
        for (number, ended) in &left.promised {
            let found = store.get_job(&JobRef::Number(JobNumber(*number))).await;
            let view = found.unwrap_or_else(|error| panic!("{at}: job {number} was promised: {error}"));
            if *ended {
                assert_eq!(view.job.status, Status::Completed, "{at}: the end of job {number} was promised");
                assert_eq!(store.list_deliveries(JobNumber(*number)).await.unwrap().len(), 1, "{at}");
            }
        }
        // the store looked through all of it at its start; here once more from outside, and in a second life
        drop(store);
        let file = rusqlite::Connection::open(dir.path().join("offshoot.db")).unwrap();
        let found: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(found, "ok", "{at}");
    }
    cuts
}

#[tokio::test]
async fn every_promise_survives_a_power_cut_at_any_moment() {
    let mut cuts = 0;
    for seed in 1..=3 {
        cuts += cut_often(seed, 100).await;
    }
    println!("{cuts} cuts");
}

/// A failing seed and cut are in the message; the same seed cuts the same way.
#[tokio::test]
#[ignore = "many minutes: just long-powercut"]
#[expect(clippy::disallowed_methods, reason = "a switch for whoever runs the tests")]
async fn long_powercut() {
    let wanted = std::env::var("OFFSHOOT_POWERCUTS").ok().and_then(|text| text.parse().ok());
    let wanted: usize = wanted.unwrap_or(20_000);
    let mut cuts = 0;
    for seed in 1_000.. {
        cuts += cut_often(seed, 500.min(wanted - cuts)).await;
        println!("seed {seed}: {cuts} cuts so far");
        if cuts == wanted {
            return;
        }
    }
}

/// Whichever sync fails, in a commit or while the log is folded in: what was promised is there in the next life, the
/// write that needed it is not answered as done, and nothing is written after it.
#[tokio::test]
async fn a_failed_sync_stops_the_store_for_good() {
    let mut stops = 0;
    for nth in 0.. {
        let (disk, dir) = (Disk::new(), quick_dir());
        let store = open(&disk, dir.path()).unwrap();
        let client = Bench::client_of(&store, "widgets").await;
        let before = disk.syncs();
        disk.fail_sync_at(nth);
        let mut promised = Vec::new();
        // each is some forty pages: the log is folded in at about the 25th
        for n in 0..40 {
            let mut new = job(&client.id, &format!("b/{n}"));
            new.request.prompt = "x".repeat(150_000);
            match store.submit_job(new, None, |_| None).await {
                Ok(view) => promised.push(view.job.number),
                Err(error) => {
                    assert!(matches!(error, StoreError::Stopped), "sync {nth}: {error}");
                    break;
                }
            }
        }
        let failed = disk.syncs() - before > nth;
        if !failed {
            assert!(!*store.failure().borrow());
            assert!(nth > 40, "commits and checkpoints were among them");
            break;
        }
        stops += 1;
        let stopped = async || store.failure().borrow().then_some(());
        crate::stand::poll(std::time::Duration::from_secs(10), stopped)
            .await
            .expect("the store says that it stopped");
        // the writer lets go of its connection after it has said so, which is one more
        let mut last = disk.syncs();
        let at_rest = async || {
            let before = std::mem::replace(&mut last, disk.syncs());
            (before == last).then_some(last)
        };
        let syncs = crate::stand::poll(std::time::Duration::from_secs(10), at_rest).await.unwrap();
        for n in 100..103 {
            let refused = store.submit_job(job(&client.id, &format!("b/{n}")), None, |_| None).await;
            assert!(matches!(refused, Err(StoreError::Stopped)), "sync {nth}");
        }
        assert_eq!(disk.syncs(), syncs, "sync {nth}: it goes on as if nothing had been");
        drop(store);
        let store = open(&disk, dir.path()).unwrap();
        for number in promised {
            store
                .get_job(&JobRef::Number(number))
                .await
                .unwrap_or_else(|error| panic!("sync {nth}: {error}"));
        }
    }
    println!("{stops} syncs failed");
}
