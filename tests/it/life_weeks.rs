//! What matters when a server runs for weeks: its log stays within its bound, and its service manager hears that it moves,
//! and only while it does.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::stand::{Plan, Stand, poll};

#[tokio::test]
async fn the_log_turns_by_itself_and_no_line_of_it_is_torn() {
    let mut stand = Stand::built(Plan::default()).await;
    let log = stand.path("server.log");
    stand.set_env("OFFSHOOT_LOG_FILE", log.display());
    stand.set_env("OFFSHOOT_LOG_FILE_BYTES_MAX", 65_536);
    stand.set_env("OFFSHOOT_LOG_FILES_MAX", 3);
    stand.start().await;
    let id = stand.submit_prompt("logged", "Greet").await;
    stand.completed(&id).await;
    let newest = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    // each request is a line
    let turned = poll(Duration::from_secs(60), async || {
        for _ in 0..50 {
            stand.get("/health").await;
        }
        (!newest(&stand.path("server.log.2")).is_empty()).then_some(())
    });
    turned.await.expect("the log never turned twice");
    let mut bytes = 0;
    for name in ["server.log", "server.log.1", "server.log.2"] {
        let path = stand.path(name);
        let metadata = path.metadata().unwrap();
        bytes += metadata.len();
        // the stand itself has made the first file, before the server turned it
        assert_eq!(metadata.permissions().mode() & 0o077 & if name == "server.log.2" { 0 } else { 0o077 }, 0);
        for line in newest(&path).lines().filter(|line| !line.is_empty()) {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
    }
    assert!(bytes <= 3 * 65_536, "{bytes}");
    assert!(!stand.path("server.log.3").exists());
    stand.finish().await;
}

#[tokio::test]
async fn a_full_disk_under_the_log_costs_lines_and_nothing_else() {
    let mut stand = Stand::built(Plan::default()).await;
    let log = stand.path("server.log");
    stand.set_env("OFFSHOOT_LOG_FILE", log.display());
    stand.start().await;
    std::fs::rename(&log, stand.path("before.log")).unwrap();
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    let id = stand.submit_prompt("unlogged", "Greet").await;
    stand.completed(&id).await;
    stand.callback(&id).await;
    let scrape = stand.get_text("/metrics").await;
    let lost = scrape.lines().find_map(|line| line.strip_prefix("offshoot_log_lines_lost_total "));
    assert!(lost.unwrap().parse::<u64>().unwrap() > 10, "{lost:?}");
    std::fs::remove_file(&log).unwrap();
    let again = stand.submit_prompt("logged", "Greet").await;
    stand.completed(&again).await;
    assert!(stand.log_text().contains(&again), "it logs again when there is room");
    stand.finish().await;
}

/// What a service manager is told.
struct Manager(UnixDatagram);

impl Manager {
    fn of(stand: &mut Stand, watchdog: Duration) -> Self {
        let path = stand.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        stand.set_env("NOTIFY_SOCKET", path.display());
        stand.set_env("WATCHDOG_USEC", watchdog.as_micros());
        Self(socket)
    }

    /// All that has come, one line each.
    fn heard(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let mut lines = Vec::new();
        while let Ok(length) = self.0.recv(&mut bytes) {
            lines.extend(String::from_utf8_lossy(&bytes[..length]).lines().map(str::to_owned));
        }
        lines
    }

    /// Waits for this line; gives all that came until then.
    async fn hears(&self, line: &str) -> Vec<String> {
        self.hears_within(Duration::from_secs(30), line).await
    }

    async fn hears_within(&self, limit: Duration, line: &str) -> Vec<String> {
        let mut all = Vec::new();
        let found = poll(limit, async || {
            all.extend(self.heard());
            all.iter().any(|heard| heard.starts_with(line)).then_some(())
        });
        let found = found.await;
        assert!(found.is_some(), "never heard {line}: {all:?}");
        all
    }
}

#[tokio::test]
async fn pings_come_while_the_queue_moves_and_stop_with_the_database() {
    let mut stand = Stand::built(Plan::default()).await;
    let patience = Duration::from_millis(4_500);
    let manager = Manager::of(&mut stand, patience);
    stand.start().await;
    manager.hears("READY=1").await;
    // idle: nothing happens, and the pings come all the same
    for _ in 0..3 {
        // later than that the manager would kill it
        let heard = manager.hears_within(patience, "WATCHDOG=1").await;
        assert!(heard.iter().any(|line| line == "STATUS=0 running, 0 queued"), "{heard:?}");
    }

    // from outside somebody takes the database and does not give it back: no round of the scheduler ends
    stand.expect_error("the watchdog is not fed");
    stand.expect_error("jobs could not be started");
    stand.expect_error("a transaction was lost");
    let outside = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
    outside.execute_batch("BEGIN IMMEDIATE").unwrap();
    manager.hears("STATUS=the scheduler does not move").await;
    // a manager would kill it after this time without a ping
    let until = Instant::now() + patience;
    let mut heard = Vec::new();
    poll(patience * 2, async || {
        heard.extend(manager.heard());
        (Instant::now() > until).then_some(())
    })
    .await;
    assert!(!heard.iter().any(|line| line == "WATCHDOG=1"), "a ping though nothing moves: {heard:?}");

    outside.execute_batch("ROLLBACK").unwrap();
    manager.hears("WATCHDOG=1").await;
    let id = stand.submit_prompt("moves", "[[scenario:no-change]]").await;
    stand.completed(&id).await;
    stand.callback(&id).await;
    stand.terminate(Duration::from_secs(20)).await;
    manager.hears("STOPPING=1").await;
    stand.start().await;
    stand.finish().await;
}
