//! The file under the store: damaged, newer, empty, cut off, upgraded, written by many at once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use offshoot::clock::Clock;
use offshoot::store::{Accounts, Ingest, Limits, SCHEMA_VERSION, Store, StoreError};
use rusqlite::Connection;

use crate::store_fixture::{Bench, NOW_MS, done, job};

const LIMITS: Limits =
    Limits { running_max: 2, running_per_client_max: None, queued_max: 1_000, disk_free_bytes_min: 0 };

/// A closed database with `jobs` queued jobs, all of it in the main file.
async fn closed(jobs: u32) -> (tempfile::TempDir, PathBuf) {
    let bench = Bench::new(2);
    let client = bench.client("widgets").await;
    for n in 0..jobs {
        bench.submit(&client, &format!("b/{n}")).await;
    }
    let Bench { dir, store, .. } = bench;
    drop(store);
    let file = dir.path().join("offshoot.db");
    checkpoint(&file);
    (dir, file)
}

/// Waits for the writer's thread to leave the file, then folds the log into it.
fn checkpoint(file: &Path) {
    let connection = Connection::open(file).unwrap();
    connection.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

fn open(dir: &tempfile::TempDir) -> Result<Store, StoreError> {
    Store::open(dir.path(), Clock::manual(NOW_MS, 9), LIMITS)
}

/// Whatever the mode of the directory and of what was there: an earlier server left these open.
#[tokio::test]
async fn the_files_of_a_database_are_its_owners_alone() {
    let (dir, file) = closed(1).await;
    let beside = |ending: &str| PathBuf::from(format!("{}{ending}", file.display()));
    let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&file), 0o600, "made by the store");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let store = open(&dir).unwrap();
    for file in [file.clone(), beside("-wal"), beside("-shm")] {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
    drop(store);
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("offshoot.db");
    let text = "this is somebody's shopping list\n".repeat(200);
    fs::write(&file, &text).unwrap();
    assert!(matches!(open(&dir).err(), Some(StoreError::Corrupt(_))));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn damaged_pages_are_found_at_the_start() {
    let (dir, file) = closed(40).await;
    let whole = fs::read(&file).unwrap();
    let pages = whole.len() / 4_096;
    let mut found = 0;
    for page in 1..pages {
        let mut damaged = whole.clone();
        // the head of a b-tree page says how it is to be read
        damaged[page * 4_096..page * 4_096 + 12].iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(&file, &damaged).unwrap();
        let opened = open(&dir);
        if let Some(error) = opened.err() {
            assert!(matches!(error, StoreError::Corrupt(_)), "page {page}: {error}");
            found += 1;
            assert_eq!(fs::read(&file).unwrap().len(), damaged.len(), "left as it is");
        }
    }
    assert_eq!(found, pages - 1, "every page of these tables is looked at");
    fs::write(&file, &whole).unwrap();
    let store = open(&dir).unwrap();
    assert_eq!(store.accounts().await.unwrap().queued, 40);
}

#[tokio::test]
async fn an_empty_or_missing_file_beside_attempts_is_a_loss() {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    bench.submit(&client, "b").await;
    let lease = bench.claim().await.lease;
    let stdout = offshoot::domain::event::MessageKind::Stdout;
    let message = offshoot::store::IngestedMessage::output(stdout, "hello".to_owned(), bench.now());
    bench.store.begin_step(lease, "agent-1").await.unwrap();
    let ingest = Ingest { messages: vec![message], log_records: 1 };
    bench.store.ingest(lease, "agent-1", ingest).await.unwrap();
    let Bench { dir, store, .. } = bench;
    drop(store);
    checkpoint(&dir.path().join("offshoot.db"));
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dir.path().join(format!("offshoot.db{ending}")));
    }
    assert!(matches!(open(&dir).err(), Some(StoreError::Corrupt(_))));
    fs::write(dir.path().join("offshoot.db"), "").unwrap();
    assert!(matches!(open(&dir).err(), Some(StoreError::Corrupt(_))));
    assert_eq!(fs::metadata(dir.path().join("offshoot.db")).unwrap().len(), 0);
}

/// How long a question about a damaged database may take.
const DAMAGE_TOLD_WITHIN: Duration = Duration::from_secs(1);

/// So many reads at once that each connection of the pool is used; how long the slowest took.
async fn read_at_once(store: &Store) -> (Vec<Result<Accounts, StoreError>>, Duration) {
    let began = tokio::time::Instant::now();
    let answers = futures_util::future::join_all((0..40).map(|_| store.accounts())).await;
    (answers, began.elapsed())
}

/// Under the open store, in place.
fn garble(file: &Path) {
    let bytes = vec![0x5a; usize::try_from(fs::metadata(file).unwrap().len()).unwrap()];
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
}

#[tokio::test]
async fn readers_that_meet_damage_say_so_at_once() {
    let (dir, file) = closed(40).await;
    let store = open(&dir).unwrap();
    checkpoint(&file);
    garble(&file);
    let (answers, took) = read_at_once(&store).await;
    assert!(answers.iter().any(|answer| matches!(answer, Err(StoreError::Corrupt(_)))), "{answers:?}");
    assert!(took < DAMAGE_TOLD_WITHIN, "{took:?}");
    assert!(*store.failure().borrow());
}

#[tokio::test]
async fn a_damaged_database_that_gets_worse_is_told_at_once() {
    let (dir, file) = closed(40).await;
    let found = StoreError::Corrupt("a page".to_owned());
    let store = Store::open_damaged(dir.path(), Clock::manual(NOW_MS, 9), LIMITS, &found);
    assert_eq!(store.accounts().await.unwrap().queued, 40, "what can be read is read");
    garble(&file);
    // other pages than those that a connection has in its memory by now
    let began = tokio::time::Instant::now();
    let answer = store.list_events(None, 0, 10).await;
    assert!(matches!(answer, Err(StoreError::ReadOnly(_))), "{answer:?}");
    assert!(began.elapsed() < DAMAGE_TOLD_WITHIN, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let (dir, file) = closed(1).await;
    Connection::open(&file)
        .unwrap()
        .execute(
            "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (99, 'later', '', '')",
            [],
        )
        .unwrap();
    checkpoint(&file);
    let before = fs::read(&file).unwrap();
    let error = open(&dir).err().unwrap();
    assert!(matches!(error, StoreError::NewerSchema { found: 99, known: SCHEMA_VERSION }), "{error}");
    assert!(fs::read(&file).unwrap() == before, "left as it is");
}

/// A copy of a running store's files, taken at once, is what a power cut leaves; the log's end may be torn.
#[tokio::test]
async fn an_answered_write_survives_a_cut_and_a_torn_end_of_the_log() {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    for n in 0..20 {
        bench.submit(&client, &format!("b/{n}")).await;
    }
    let copy = tempfile::tempdir().unwrap();
    fs::copy(bench.dir.path().join("offshoot.db"), copy.path().join("offshoot.db")).unwrap();
    let log = fs::read(bench.dir.path().join("offshoot.db-wal")).unwrap();
    assert!(!log.is_empty());

    fs::write(copy.path().join("offshoot.db-wal"), &log).unwrap();
    let store = open(&copy).unwrap();
    assert_eq!(store.accounts().await.unwrap().queued, 20, "nothing needs the shared-memory file");
    drop(store);

    let torn = tempfile::tempdir().unwrap();
    fs::copy(bench.dir.path().join("offshoot.db"), torn.path().join("offshoot.db")).unwrap();
    fs::write(torn.path().join("offshoot.db-wal"), &log[..log.len() - 100]).unwrap();
    let store = open(&torn).unwrap();
    let left = store.queue_page(None).await.unwrap().queued;
    assert_eq!(left.len(), 19, "only the write whose end is missing is gone");
    assert!(left.iter().map(|queued| queued.number.0).eq(1..=19));
}

#[tokio::test]
async fn writes_that_share_a_commit_keep_their_own_answers() {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    // pairs on one branch: exactly one of each is accepted, whatever shares its transaction
    let submits =
        (0..100).map(|n| bench.store.submit_job(job(&client.id, &format!("b/{}", n / 2)), None, |_| None));
    let answers = futures_util::future::join_all(submits).await;
    let mut accepted = Vec::new();
    for pair in answers.chunks(2) {
        let good: Vec<_> = pair.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        assert_eq!(good.len(), 1);
        assert!(
            pair.iter()
                .any(|answer| matches!(answer, Err(StoreError::BranchBusy(c)) if c.job == good[0].job.id))
        );
        accepted.push(good[0].job.number.0);
    }
    accepted.sort_unstable();
    assert!(accepted.into_iter().eq(1..=50), "a refused one leaves no gap");
}

/// Many hands claim at once: each job goes out once, and never more than the limit.
#[tokio::test]
async fn claims_at_once_never_hand_a_job_out_twice() {
    let bench = Bench::new(3);
    let client = bench.client("widgets").await;
    for n in 0..10 {
        bench.submit(&client, &format!("b/{n}")).await;
    }
    let claims = (0..50).map(|_| bench.store.claim());
    let claimed: Vec<_> =
        futures_util::future::join_all(claims).await.into_iter().filter_map(Result::unwrap).collect();
    let mut numbers: Vec<_> = claimed.iter().map(|assignment| assignment.lease.job.0).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
    bench.end(claimed[0].lease, done()).await;
}
