//! The metrics: the one place with their names. `docs/metrics.md` is made from it.

use super::{Counter, Gauge, Histogram, Kind, Label, Row, Values};

/// From one answer of the page cache to a disk that is in trouble, seconds.
const SHORT: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// From an answer out of the cache to the longest wait that a request may ask for, seconds.
const ANSWER: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0];
/// From a step of git to the longest run of an agent, seconds.
const LONG: &[f64] = &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0];
/// Operations, up to the bound of a transaction.
const GROUP: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

const fn listed(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values: Values::Listed(values) }
}

const fn from(name: &'static str, origin: &'static str) -> Label {
    Label { name, values: Values::From(origin) }
}

const STATUS: Label = listed("status", &["queued", "running", "completed", "failed", "cancelled"]);
const PHASE: Label =
    listed("phase", &["preparing", "agent", "verifying", "committing", "pushing", "opening_pr"]);
const REASON: Label = from("reason", "the codes of `docs/reasons.md`, `none` for success");
const LOGIN: Label = from("login", "the `[agents.<name>]` entries of the configuration");
const STATE: Label = listed("state", &["pending", "suspended", "dead"]);
const RESULT: Label = listed(
    "result",
    &["accepted", "refused", "gone", "address", "resolve", "connect", "timeout", "transport"],
);
const MAINTAINED: Label = listed("result", &["packed", "not_needed", "busy", "failed"]);
const METHOD: Label = from("method", "the methods that HTTP defines, `other`");
const ROUTE: Label = from("route", "the paths of the OpenAPI document, `other` for no route");
const ANSWERED: Label = from("status", "HTTP statuses");
const LIMIT: Label = from("limit", "the names under *Limits* below");
const VERSION: Label = from("version", "this program's");

/// Makes a static of each row, and the list of all. Labels are counted by their names: counting the constants themselves would
/// have the compiler evaluate calls for a type, which it gives up as a cycle when it optimises.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $kind:ident $name:ident = $text:literal [$($label:ident),*] $($buckets:ident)?;)+) => {
        $(
            $(#[doc = $help])+
            pub static $name: $kind<{ <[&str]>::len(&[$(stringify!($label)),*]) }> = $kind(Row {
                name: $text,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: concat!($($help),+).trim_ascii_start(),
                buckets: { const CHOSEN: &[&[f64]] = &[$($buckets)?]; if CHOSEN.is_empty() { &[] } else { CHOSEN[0] } },
            });
        )+

        /// Every metric, in the order of the documentation.
        pub static ALL: &[&Row] = &[$(&$name.0),+];
    };
}

metrics! {
    /// 1, with the version of the program.
    Gauge BUILD = "offshoot_build_info" [VERSION];
    /// Jobs by status, as long as they are kept.
    Gauge JOBS = "offshoot_jobs" [STATUS];
    /// Age of the queued job that has waited longest, 0 for an empty queue.
    Gauge OLDEST_QUEUED = "offshoot_oldest_queued_seconds" [];
    /// 1 while the queue is paused.
    Gauge PAUSED = "offshoot_queue_paused" [];
    /// Jobs that may run at once.
    Gauge SLOTS = "offshoot_slots" [];
    /// From the acceptance of a job (or its `runAt`) to the start of its first attempt.
    Histogram QUEUE_WAIT = "offshoot_queue_wait_seconds" [] LONG;
    /// Time in a phase; one that a stop of the server cut off counts as far as it came.
    Histogram PHASES = "offshoot_phase_seconds" [PHASE] LONG;
    /// Attempts that have ended.
    Counter ATTEMPTS = "offshoot_attempts_total" [REASON];
    /// Steps that this server follows: each has a shim that runs or has just ended.
    Gauge SHIMS = "offshoot_shims_running" [];
    /// 1 for each login whose work waits.
    Gauge HOLDS = "offshoot_holds" [LOGIN, REASON];
    /// How often a limit was met.
    Counter LIMITS = "offshoot_limits_hit_total" [LIMIT];
    /// Rounds of the loop that starts jobs; a minute without one means that it hangs.
    Counter SCHEDULER_ROUNDS = "offshoot_scheduler_rounds_total" [];

    /// Callbacks and notices that are not delivered.
    Gauge DELIVERIES = "offshoot_deliveries" [STATE];
    /// Tries of callbacks and notices: `accepted` is 2xx or a program that took it, `gone` 410, `refused` any other status or a
    /// program that did not, the rest had none.
    Counter DELIVERY_TRIES = "offshoot_delivery_tries_total" [RESULT];
    /// From the name look-up to the end of a callback's answer.
    Histogram DELIVERY_SECONDS = "offshoot_delivery_try_seconds" [] ANSWER;
    /// Tries under way.
    Gauge DELIVERIES_UNDER_WAY = "offshoot_delivery_tries_under_way" [];

    /// Answered requests.
    Counter HTTP_REQUESTS = "offshoot_http_requests_total" [METHOD, ROUTE, ANSWERED];
    /// From the head of a request to its answer, without the sending of the body.
    Histogram HTTP_SECONDS = "offshoot_http_request_seconds" [ROUTE] ANSWER;
    /// Open connections to the API.
    Gauge HTTP_CONNECTIONS = "offshoot_http_connections" [];
    /// Open streams of events and of output.
    Gauge STREAMS = "offshoot_streams_open" [];

    /// How long a commit took until it was on the disk.
    Histogram COMMIT_SECONDS = "offshoot_db_commit_seconds" [] SHORT;
    /// Writes that shared one commit.
    Histogram COMMIT_WRITES = "offshoot_db_commit_writes" [] GROUP;
    /// Transactions that were lost, by a full disk or a lock from outside; their callers were told.
    Counter COMMITS_LOST = "offshoot_db_commits_lost_total" [];
    /// Writes that wait for the writer.
    Gauge WRITES_WAITING = "offshoot_db_writes_waiting" [];
    /// Size of the database file.
    Gauge DATABASE_BYTES = "offshoot_db_bytes" [];
    /// Size of the write-ahead log.
    Gauge WAL_BYTES = "offshoot_db_wal_bytes" [];
    /// Room where there is the least of it: on the disk of the data directory, the clones or the worktrees.
    Gauge DISK_FREE = "offshoot_disk_free_bytes" [];
    /// No job starts below this.
    Gauge DISK_FLOOR = "offshoot_disk_floor_bytes" [];

    /// Looks at clones that may be packed: `busy` are those that somebody used or came to use.
    Counter CLONE_MAINTENANCE = "offshoot_clone_maintenance_total" [MAINTAINED];

    /// Lines of the log that could not be written.
    Counter LOG_LINES_LOST = "offshoot_log_lines_lost_total" [];

    /// Resident memory of the server, without agents.
    Gauge RESIDENT_BYTES = "process_resident_memory_bytes" [];
    /// Open file descriptors of the server.
    Gauge OPEN_FDS = "process_open_fds" [];
    /// File descriptors that the server may have.
    Gauge MAX_FDS = "process_max_fds" [];
    /// Threads of the server.
    Gauge THREADS = "process_threads" [];
    /// Processor time of the server, in user and system mode.
    Gauge CPU_SECONDS = "process_cpu_seconds" [];
    /// Start of the server, in Unix seconds.
    Gauge START_SECONDS = "process_start_time_seconds" [];
}
