//! Data of every schema that there ever was, brought up to the newest one: `store_samples/v<N>.sql` holds what an
//! installation at schema N may hold, and a new migration adds its own.

use std::path::Path;

use offshoot::clock::Clock;
use offshoot::domain::attachment::AttachedFile;
use offshoot::domain::hold::LimitWindow;
use offshoot::domain::id::{JobNumber, JobRef};
use offshoot::domain::job::{Status, Usage, WaitingFor};
use offshoot::domain::usage::Grouping;
use offshoot::store::{BackupKind, Limits, SCHEMA_VERSION, Store, UsageQuery, backup};
use rusqlite::Connection;

use crate::store_fixture::NOW_MS;
use crate::tidy_source::{files_below, root};

const LIMITS: Limits =
    Limits { running_max: 3, running_per_client_max: None, queued_max: 1_000, disk_free_bytes_min: 0 };

fn open(dir: &Path) -> Store {
    Store::open(dir, Clock::manual(NOW_MS, 9), LIMITS).unwrap()
}

/// An empty database as the binary of that schema left it.
fn at_schema(version: i64, file: &Path) -> Connection {
    let newest = tempfile::tempdir().unwrap();
    drop(open(newest.path()));
    let connection = Connection::open(file).unwrap();
    let newest = newest.path().join("offshoot.db");
    connection.execute("ATTACH ?1 AS newest", [newest.to_str().unwrap()]).unwrap();
    let history = "SELECT sql FROM newest.sqlite_schema WHERE name = 'refinery_schema_history'";
    let history: String = connection.query_row(history, [], |row| row.get(0)).unwrap();
    connection.execute_batch(&history).unwrap();
    let copy = "INSERT INTO refinery_schema_history SELECT * FROM newest.refinery_schema_history WHERE version <= ?1";
    connection.execute(copy, [version]).unwrap();
    connection.execute_batch("DETACH newest").unwrap();
    for migration in files_below("migrations", ".sql").iter().take(usize::try_from(version).unwrap()) {
        connection.execute_batch(&std::fs::read_to_string(migration).unwrap()).unwrap();
    }
    connection
}

/// What an installation at this schema may hold. One that begins with "As at schema" has only what is new.
fn sample(version: i64) -> String {
    let path = root().join(format!("tests/it/store_samples/v{version}.sql"));
    let own = std::fs::read_to_string(&path)
        .unwrap_or_else(|_| panic!("schema {version} has no sample: write {}", path.display()));
    if own.starts_with(&format!("-- As at schema {}", version - 1)) {
        sample(version - 1) + &own
    } else {
        own
    }
}

#[tokio::test]
async fn data_of_every_schema_is_carried_over() {
    for version in 1..=SCHEMA_VERSION {
        let dir = tempfile::tempdir().unwrap();
        let connection = at_schema(version, &dir.path().join("offshoot.db"));
        connection.execute_batch(&sample(version)).unwrap();
        drop(connection);
        let store = open(dir.path());
        // the same stories in every sample
        let by_number = |number| JobRef::Number(JobNumber(number));
        let finished = store.get_job(&by_number(1)).await.unwrap().job;
        assert_eq!((finished.status, finished.effects.pr_number), (Status::Completed, Some(12)));
        assert_eq!(finished.usage.cost_micro_usd, Some(210_000));
        let adopted = store.adopt_running("boot").await.unwrap();
        assert_eq!((adopted.len(), adopted[0].lease.job, adopted[0].lease.attempt), (1, JobNumber(2), 2));
        assert_eq!(store.list_steps(JobNumber(2), 2).await.unwrap()[0].log_records, 7);
        let queued = store.get_job(&by_number(3)).await.unwrap();
        assert_eq!((queued.position, queued.job.request.labels), (Some(1), vec!["night".to_owned()]));
        assert_eq!((queued.job.request.run_at, queued.job.request.depends_on), (None, vec![]));
        assert!(store.list_events(None, 0, 100).await.unwrap().len() >= 4);
        assert_eq!(store.list_deliveries(JobNumber(1)).await.unwrap()[0].tries.len(), 1);
        assert_eq!(store.newest_messages(JobNumber(1)).await.unwrap().messages[0].content, "worktree ready");
        let hold = store.accounts().await.unwrap().holds.remove(0);
        let window = (version >= 21).then_some(LimitWindow::Weekly);
        assert_eq!((hold.login.as_str(), hold.window), ("codex", window), "schema {version}");
        if version >= 2 {
            let waits = store.get_job(&by_number(4)).await.unwrap();
            assert_eq!(waits.waiting.unwrap().for_, WaitingFor::Dependency, "schema {version}");
            assert_eq!(waits.job.request.depends_on.len(), 1);
            let timed = store.get_job(&by_number(5)).await.unwrap();
            assert_eq!(timed.job.request.run_at.unwrap().as_ms(), NOW_MS + 60_000);
        }
        let files = store.attached_files(JobNumber(3)).await.unwrap();
        let (told, kept) =
            (queued.job.request.attachments, files.iter().map(AttachedFile::told).collect::<Vec<_>>());
        assert_eq!((told.len(), &told), (usize::from(version >= 17), &kept), "schema {version}");
        let profiles = store.list_profiles().await.unwrap();
        let turns: Vec<_> = profiles.iter().map(|profile| profile.options.max_turns).collect();
        assert_eq!(turns, if version >= 18 { vec![Some(9)] } else { vec![] }, "schema {version}");
        let used = queued.job.request.profile.map(|used| (used.name, used.options.max_turns));
        assert_eq!(used, (version >= 18).then(|| ("review".to_owned(), Some(7))), "schema {version}");
        let tokens = store.list_tokens().await.unwrap();
        let tokens: Vec<_> =
            tokens.iter().map(|token| (token.reach.is_whole(), token.revoked_at.is_some())).collect();
        assert_eq!(
            tokens,
            if version >= 22 { vec![(true, true), (false, false)] } else { vec![] },
            "schema {version}"
        );
        let visit = store.find_visit(JobNumber(2)).await.unwrap();
        let visited = (visit.is_some(), queued.job.handed_back.is_some());
        assert_eq!(visited, (version >= 19, version >= 19), "schema {version}");
        let rounds: Vec<_> = finished.verify.iter().map(|one| (one.round, one.exit_code)).collect();
        assert_eq!(rounds, if version >= 15 { vec![(2, Some(0))] } else { vec![] }, "schema {version}");
        let kept = finished.artifacts.map(|kept| (kept.attempt, kept.find("out/report.html")));
        assert_eq!(kept, (version >= 20).then_some((1, Some((0, 12)))), "schema {version}");
        let logged_in = finished.effects.authentication.as_deref();
        assert_eq!(logged_in, (version >= 23).then_some("ANTHROPIC_API_KEY"), "schema {version}");
        let said = store.said_to_agent(JobNumber(1)).await.unwrap();
        assert_eq!(said.len(), if version >= 16 { 3 } else { 0 }, "schema {version}");
        let goes = store.clones_to_remove().await.unwrap();
        assert_eq!(goes.len(), usize::from(version >= 8), "schema {version}");
        let by = vec![Grouping::Day, Grouping::Client, Grouping::Label];
        let used = store.usage_page(UsageQuery { by, limit: 9, ..UsageQuery::default() }).await.unwrap();
        let told = u64::from(version >= 9);
        assert_eq!((used.total.runs, used.groups.len() as u64), (told, told), "schema {version}");
        assert!(used.groups.iter().all(|group| group.label.is_none() && group.sums == used.total));
        assert_eq!(used.total.usage, if told == 1 { finished.usage } else { Usage::default() });
        // the running one begins at nothing, and what was told before stays
        let more = Usage { turns: 1, ..Usage::default() };
        assert_eq!(store.record_usage(adopted[0].lease, "agent-1", None, more).await.unwrap(), more);
        let deaths = store.server_deaths_in_a_row(adopted[0].lease).await.unwrap();
        assert_eq!(deaths, u32::from(version >= 5), "schema {version}");
    }
}

/// Each label counts once, and what an agent once printed as its usage does not stop the server.
#[tokio::test]
async fn usage_of_older_schemas_is_summed_within_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let connection = at_schema(11, &dir.path().join("offshoot.db"));
    connection.execute_batch(&sample(11)).unwrap();
    let more = "UPDATE jobs SET labels = '[\"x\",\"x\"]' WHERE number = 1;
        UPDATE attempts SET usage = json_set(usage, '$.input', 9000000000000000000) WHERE job = 1;
        INSERT INTO attempts (job, number, started_at, ended_at, usage)
            SELECT job, 2, started_at, ended_at, usage FROM attempts WHERE job = 1;";
    connection.execute_batch(more).unwrap();
    drop(connection);
    let store = open(dir.path());
    let by = vec![Grouping::Label];
    let used = store.usage_page(UsageQuery { by, limit: 9, ..UsageQuery::default() }).await.unwrap();
    let labels: Vec<_> = used.groups.iter().map(|group| (group.label.as_deref(), group.sums.runs)).collect();
    assert_eq!(labels, [(Some("x"), 2)]);
    assert_eq!((used.total.runs, used.total.usage.input_tokens), (2, 2_000_000_000_000));
}

/// The copy from before is a whole database of its schema, from which the migration can be made again.
#[tokio::test]
async fn a_migration_is_made_with_a_backup_and_can_be_taken_back() {
    for version in 1..=SCHEMA_VERSION {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("offshoot.db");
        at_schema(version, &file).execute_batch(&sample(version)).unwrap();
        drop(open(dir.path()));
        let backups = backup::list(dir.path());
        if version == SCHEMA_VERSION {
            assert_eq!(backups, [], "nothing was migrated");
            continue;
        }
        assert_eq!((backups.len(), backups[0].kind), (1, BackupKind::BeforeMigration));
        let copy = backup::dir(dir.path()).join(&backups[0].name);
        let found: i64 = Connection::open(&copy)
            .unwrap()
            .query_row("SELECT max(version) FROM refinery_schema_history", [], |row| row.get(0))
            .unwrap();
        assert_eq!(found, version);
        let again = tempfile::tempdir().unwrap();
        std::fs::copy(copy, again.path().join("offshoot.db")).unwrap();
        assert_eq!(open(again.path()).accounts().await.unwrap().running, 1);
    }
}
