//! Backups: whole while writes go on, a bounded number of them, and a queue that goes on after one was put back.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use offshoot::clock::Clock;
use offshoot::domain::id::JobNumber;
use offshoot::store::{self, BackupKind, SCHEMA_VERSION, Store, StoreError, backup};
use rusqlite::Connection;

use crate::bad_disk::{Disk, quick_dir};
use crate::stand::{PATIENCE, poll};
use crate::store_fixture::{Bench, NOW_MS, job};

/// What is in a backup, read from outside.
fn jobs_in(file: &Path) -> BTreeSet<i64> {
    let connection = Connection::open(file).unwrap();
    let found: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "ok");
    let mut statement = connection.prepare("SELECT number FROM jobs").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Writers that write all the while; every row that was answered for before the backup began is in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_many_writes_has_every_row_from_before_it() {
    const WRITERS: usize = 100;
    let bench = Bench::with(store::Limits {
        running_max: 1,
        running_per_client_max: None,
        queued_max: 1_000_000,
        disk_free_bytes_min: 0,
    });
    let client = bench.client("widgets").await;
    // something to copy, so that a backup takes its time
    for chunk in 0..20 {
        let submits = (0..100).map(|n| {
            let mut new = job(&client.id, &format!("old/{chunk}-{n}"));
            new.request.prompt = format!("{n} ").repeat(2_000);
            bench.store.submit_job(new, None, |_| None)
        });
        assert!(futures_util::future::join_all(submits).await.iter().all(Result::is_ok));
    }
    let answered = Mutex::new(BTreeSet::new());
    let stop = tokio_util::sync::CancellationToken::new();
    let write = |writer: usize| {
        let (bench, client, answered, stop) = (&bench, &client, &answered, &stop);
        async move {
            for n in 0.. {
                if stop.is_cancelled() {
                    return;
                }
                let view = bench.submit(client, &format!("new/{writer}-{n}")).await;
                answered.lock().unwrap().insert(view.job.number.0);
            }
        }
    };
    let back_up = async {
        for _ in 0..5 {
            let before = answered.lock().unwrap().clone();
            let made = bench.store.back_up(BackupKind::Manual, None).await.unwrap();
            let held = jobs_in(&made.path);
            assert!(before.is_subset(&held), "{:?}", before.difference(&held));
            assert!(held.is_superset(&(1..=2_000).collect()));
            assert_eq!(made.verified.last_job.0, *held.last().unwrap());
            bench.clock.advance_ms(1_000);
        }
        stop.cancel();
    };
    tokio::join!(futures_util::future::join_all((0..WRITERS).map(write)), back_up);
}

/// Its copying is held in the middle: writes are answered all the same, and none of them gets into the copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_answered_while_a_backup_is_in_the_middle_of_its_copy() {
    let (disk, dir) = (Disk::new(), quick_dir());
    let limits = store::Limits {
        running_max: 1,
        running_per_client_max: None,
        queued_max: 1_000,
        disk_free_bytes_min: 0,
    };
    let store = Store::open_through(Some(&disk.name), dir.path(), Clock::manual(NOW_MS, 9), limits).unwrap();
    let client = Bench::client_of(&store, "widgets").await;
    let submit = async |n: usize| {
        let submitted = store.submit_job(job(&client.id, &format!("b/{n}")), None, |_| None);
        tokio::time::timeout(PATIENCE, submitted).await.expect("a write waits for the backup").unwrap()
    };
    for n in 1..=50 {
        submit(n).await;
    }
    let held = disk.hold(".part");
    let write = async {
        let copies = async || disk.holds().then_some(());
        poll(PATIENCE, copies).await.expect("the backup writes its copy");
        for n in 51..=150 {
            submit(n).await;
        }
        assert!(disk.holds(), "it is in the middle still");
        drop(held);
    };
    let (made, ()) = tokio::join!(store.back_up(BackupKind::Manual, None), write);
    assert_eq!(jobs_in(&made.unwrap().path), (1..=50).collect());
    assert_eq!(store.accounts().await.unwrap().queued, 150);
}

fn names(bench: &Bench) -> Vec<String> {
    backup::list(bench.dir.path()).into_iter().map(|backup| backup.name).collect()
}

#[tokio::test]
async fn a_week_of_daily_backups_is_kept_and_one_is_due_after_a_day() {
    const HOUR: i64 = 3_600_000;
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    bench.submit(&client, "b").await;
    let half = backup::dir(bench.dir.path()).join("daily-20250101T000000.000Z.db.part");
    let foreign = backup::dir(bench.dir.path()).join("mine.db");
    for day in 0..10 {
        assert!(bench.store.is_backup_due(), "day {day}");
        let made = bench.store.back_up(BackupKind::Daily, None).await.unwrap();
        assert_eq!(made.path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(jobs_in(&made.path).len(), 1);
        assert!(!bench.store.is_backup_due());
        bench.clock.advance_ms(23 * HOUR);
        assert!(!bench.store.is_backup_due(), "a day is not over");
        bench.clock.advance_ms(HOUR);
        if day == 4 {
            std::fs::write(&half, "half of one").unwrap();
            std::fs::write(&foreign, "somebody's own").unwrap();
        }
    }
    assert_eq!(names(&bench).len(), 7);
    assert!(!half.exists() && foreign.exists());
    for _ in 0..9 {
        bench.store.back_up(BackupKind::Manual, None).await.unwrap();
        bench.clock.advance_ms(1);
    }
    let all = names(&bench);
    let count = |kind: &str| all.iter().filter(|name| name.starts_with(kind)).count();
    assert_eq!((count("daily-"), count("manual-"), all.len()), (7, 7, 14));
    assert!(!bench.store.is_backup_due(), "whoever made it");
    // a clock that was ahead: what it left is no reason to wait for it
    bench.clock.advance_ms(-48 * HOUR);
    assert!(bench.store.backups()[0].taken_at > bench.now() && !bench.store.is_backup_due());
    bench.clock.advance_ms(-300 * HOUR);
    assert!(bench.store.is_backup_due());
}

/// However many there are, and whatever their names say: what was just made stays, and those of a time that has not come
/// make room first.
#[tokio::test]
async fn backups_of_a_clock_that_was_ahead_make_room_for_those_of_now() {
    const DAY: i64 = 86_400_000;
    const KINDS: [BackupKind; 2] = [BackupKind::Daily, BackupKind::Manual];
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    bench.submit(&client, "b").await;
    bench.clock.set_by_ms(3_650 * DAY);
    for _ in 0..7 {
        for kind in KINDS {
            bench.store.back_up(kind, None).await.unwrap();
        }
        bench.clock.advance_ms(1);
    }
    bench.clock.set_by_ms(-3_650 * DAY);
    for day in 1..=9 {
        assert!(bench.store.is_backup_due(), "day {day}");
        for kind in KINDS {
            let made =
                bench.store.back_up(kind, None).await.unwrap_or_else(|error| panic!("day {day}: {error}"));
            assert_eq!(jobs_in(&made.path).len(), 1);
            let of_kind = bench.store.backups().into_iter().filter(|backup| backup.kind == kind);
            let ahead = of_kind.clone().filter(|backup| backup.taken_at > bench.now()).count();
            assert_eq!((of_kind.count(), ahead), (7, 7_usize.saturating_sub(day)), "day {day}");
        }
        bench.clock.advance_ms(DAY);
    }
}

/// The copy is read back before it gets its name.
#[tokio::test]
async fn a_copy_that_the_disk_garbled_never_becomes_a_backup() {
    let (disk, dir) = (Disk::new(), quick_dir());
    let clock = Clock::manual(NOW_MS, 9);
    let limits = store::Limits {
        running_max: 1,
        running_per_client_max: None,
        queued_max: 10,
        disk_free_bytes_min: 0,
    };
    let store = Store::open_through(Some(&disk.name), dir.path(), clock, limits).unwrap();
    let client = Bench::client_of(&store, "widgets").await;
    store.submit_job(job(&client.id, "b"), None, |_| None).await.unwrap();
    disk.garble(Some(".part"));
    let made = store.back_up(BackupKind::Manual, None).await;
    assert!(matches!(made, Err(StoreError::Corrupt(_))), "{made:?}");
    assert_eq!(std::fs::read_dir(backup::dir(dir.path())).unwrap().count(), 0);
    assert!(!*store.failure().borrow(), "the database itself is whole");
    disk.garble(None);
    store.back_up(BackupKind::Manual, None).await.unwrap();
}

#[tokio::test]
async fn a_backup_elsewhere_replaces_nothing() {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    bench.submit(&client, "b").await;
    let file = bench.dir.path().join("elsewhere.db");
    let made = bench.store.back_up(BackupKind::Manual, Some(file.clone())).await.unwrap();
    assert_eq!((made.path.as_path(), jobs_in(&file).len()), (file.as_path(), 1));
    let again = bench.store.back_up(BackupKind::Manual, Some(file.clone())).await;
    assert!(matches!(again, Err(StoreError::Exists)));
    let (beside, other) = (bench.dir.path().join("other.db.part"), bench.dir.path().join("other.db"));
    std::fs::write(&beside, "somebody's own").unwrap();
    bench.store.back_up(BackupKind::Manual, Some(other.clone())).await.unwrap();
    assert_eq!(
        (jobs_in(&other).len(), std::fs::read_to_string(&beside).unwrap().as_str()),
        (1, "somebody's own")
    );
    let parts = std::fs::read_dir(bench.dir.path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    assert_eq!(parts.filter(|name| name.ends_with(".part")).collect::<Vec<_>>(), ["other.db.part"]);
    let absent = bench.dir.path().join("no/such/dir.db");
    assert!(matches!(bench.store.back_up(BackupKind::Manual, Some(absent)).await, Err(StoreError::Io(_))));
    let file_in_file = file.join("x.db");
    assert!(matches!(
        bench.store.back_up(BackupKind::Manual, Some(file_in_file)).await,
        Err(StoreError::Io(_))
    ));
    assert_eq!(names(&bench), Vec::<String>::new());
}

/// A closed installation with one job, and a good backup of it.
async fn installation() -> (tempfile::TempDir, std::path::PathBuf) {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    bench.submit(&client, "b").await;
    let made = bench.store.back_up(BackupKind::Manual, None).await.unwrap();
    let (dir, log) = (bench.dir, made.path);
    drop(bench.store);
    let closed = async || (!dir.path().join("offshoot.db-wal").exists()).then_some(());
    poll(Duration::from_secs(20), closed).await.expect("the writer leaves the file");
    (dir, log)
}

#[tokio::test]
async fn a_backup_of_no_use_is_refused_before_anything_is_touched() {
    let (dir, good) = installation().await;
    let whole = std::fs::read(&good).unwrap();
    let bad = dir.path().join("bad.db");
    let database = dir.path().join("offshoot.db");
    let before = std::fs::read(&database).unwrap();
    let restore = || store::restore(dir.path(), &bad, &Clock::system());
    std::fs::write(&bad, "no database at all").unwrap();
    assert!(matches!(restore(), Err(StoreError::Corrupt(_))));
    let mut flipped = whole.clone();
    let last = flipped.len() - 4_096;
    flipped[last] ^= 0x20;
    std::fs::write(&bad, flipped).unwrap();
    assert!(matches!(restore(), Err(StoreError::Corrupt(_))));
    std::fs::write(&bad, "").unwrap();
    assert!(matches!(restore(), Err(StoreError::Corrupt(_))));
    std::fs::remove_file(&bad).unwrap();
    Connection::open(&bad).unwrap().execute_batch("CREATE TABLE jobs (number INTEGER)").unwrap();
    assert!(matches!(restore(), Err(StoreError::Corrupt(_))), "somebody else's");
    std::fs::write(&bad, &whole).unwrap();
    let newer =
        "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (99, 'x', '', '')";
    Connection::open(&bad).unwrap().execute_batch(newer).unwrap();
    assert!(matches!(restore(), Err(StoreError::NewerSchema { found: 99, known: SCHEMA_VERSION })));
    assert!(std::fs::read(&database).unwrap() == before && !dir.path().join("set-aside").exists());
}

/// Cut short after any of its steps, a restore leaves the old database, or none, and can be repeated.
#[tokio::test]
async fn a_restore_that_was_cut_short_never_passes_for_a_first_start() {
    let (dir, good) = installation().await;
    std::fs::rename(dir.path().join("offshoot.db"), dir.path().join("away.db")).unwrap();
    let limits = store::Limits {
        running_max: 1,
        running_per_client_max: None,
        queued_max: 10,
        disk_free_bytes_min: 0,
    };
    let open = || Store::open(dir.path(), Clock::system(), limits);
    // the database is set aside already, its log is not yet
    std::fs::write(dir.path().join("offshoot.db-wal"), "a log").unwrap();
    assert!(matches!(open().err(), Some(StoreError::Corrupt(_))));
    std::fs::remove_file(dir.path().join("offshoot.db-wal")).unwrap();
    assert!(matches!(open().err(), Some(StoreError::Corrupt(_))), "its backups tell that there was one");
    std::fs::write(dir.path().join("offshoot.db-wal"), "a log").unwrap();
    std::fs::write(dir.path().join("offshoot.db.restoring"), "half a copy").unwrap();
    let done = store::restore(dir.path(), &good, &Clock::system()).unwrap();
    assert_eq!(done.verified.last_job, JobNumber(1));
    assert!(done.set_aside.unwrap().join("offshoot.db-wal").exists());
    assert_eq!(open().unwrap().accounts().await.unwrap().queued, 1);
}

/// What was set aside by a restore that was cut off before it had put the backup in place tells how far the numbers had come.
#[tokio::test]
async fn a_restore_that_is_repeated_gives_no_number_a_second_time() {
    for has_copy in [true, false] {
        let bench = Bench::new(3);
        let client = bench.client("widgets").await;
        bench.submit(&client, "before").await;
        let made = bench.store.back_up(BackupKind::Manual, None).await.unwrap();
        for n in 0..3 {
            bench.submit(&client, &format!("later/{n}")).await;
        }
        let (dir, clock, limits) = bench.close();
        let closed = async || (!dir.path().join("offshoot.db-wal").exists()).then_some(());
        poll(Duration::from_secs(20), closed).await.expect("the writer leaves the file");
        store::restore(dir.path(), &made.path, &clock).unwrap();
        // as if it had been cut off before its last rename
        let database = dir.path().join("offshoot.db");
        match has_copy {
            true => std::fs::rename(&database, dir.path().join("offshoot.db.restoring")).unwrap(),
            false => std::fs::remove_file(&database).unwrap(),
        }
        clock.advance_ms(1_000);
        store::restore(dir.path(), &made.path, &clock).unwrap();
        let store = Store::open(dir.path(), clock, limits).unwrap();
        let client = store.list_clients().await.unwrap()[0].id.clone();
        let next = store.submit_job(job(&client, "next"), None, |_| None).await.unwrap();
        assert_eq!(next.job.number.0, 5, "has_copy: {has_copy}");
    }
}

/// Numbers go on behind those that were given out since the backup, whether the old database can still be read or not.
#[tokio::test]
async fn numbers_are_not_given_a_second_time() {
    for readable in [true, false] {
        let bench = Bench::new(3);
        let client = bench.client("widgets").await;
        bench.submit(&client, "queued").await;
        bench.submit(&client, "running").await;
        let made = bench.store.back_up(BackupKind::Manual, None).await.unwrap();
        // since then both have been started, and others were submitted and started
        for n in 0..3 {
            bench.submit(&client, &format!("later/{n}")).await;
        }
        let mut leases = Vec::new();
        for _ in 0..3 {
            let lease = bench.claim().await.lease;
            let dir = bench.store.logs().step_dir(lease.job, lease.attempt, "agent-1");
            std::fs::create_dir_all(dir).unwrap();
            leases.push(lease);
        }
        assert_eq!(leases.iter().map(|lease| lease.job.0).collect::<Vec<_>>(), [1, 2, 3]);
        let epoch = bench.store.epoch();
        let Bench { dir, store, clock, .. } = bench;
        drop(store);
        let closed = async || (!dir.path().join("offshoot.db-wal").exists()).then_some(());
        poll(Duration::from_secs(20), closed).await.expect("the writer leaves the file");
        if !readable {
            for ending in ["", "-wal", "-shm"] {
                let _ = std::fs::write(dir.path().join(format!("offshoot.db{ending}")), "gone bad");
            }
        }
        store::restore(dir.path(), &made.path, &clock).unwrap();
        let limits = store::Limits {
            running_max: 3,
            running_per_client_max: None,
            queued_max: 10,
            disk_free_bytes_min: 0,
        };
        let store = Store::open(dir.path(), clock, limits).unwrap();
        assert!(store.epoch() > epoch || !readable);
        let strays = store.strays().await.unwrap();
        let mut strays: Vec<_> = strays.iter().map(|stray| (stray.job.0, stray.known)).collect();
        strays.sort_unstable();
        assert_eq!(strays, [(1, 0), (2, 0), (3, 0)], "nothing is under way");
        assert!(store.claim().await.unwrap().is_none(), "not before somebody has looked");
        store.resume_queue().await.unwrap();
        // the two that it knows begin behind the attempts that they had
        for number in [1, 2] {
            let lease = store.claim().await.unwrap().unwrap().lease;
            assert_eq!((lease.job.0, lease.attempt), (number, 2));
        }
        let client = store.list_clients().await.unwrap()[0].id.clone();
        let next = store.submit_job(job(&client, "next"), None, |_| None).await.unwrap().job.number.0;
        // of an unreadable database only what has files is known
        assert_eq!(next, if readable { 6 } else { 4 });
    }
}
