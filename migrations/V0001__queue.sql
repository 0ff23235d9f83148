-- The queue, its history and what is on its way out. Instants are Unix milliseconds, written by the server's clock.

-- Single values: instance (random name of this installation), epoch (number of server starts), paused, paused_reason.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE clients (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    os_client_id    TEXT,
    name            TEXT NOT NULL,
    org             TEXT NOT NULL,
    repo            TEXT NOT NULL,
    -- org/repo in lower case: the forge folds case
    repository_key  TEXT NOT NULL,
    default_branch  TEXT,
    clone_url       TEXT,
    forge_id        INTEGER,
    paused          INTEGER NOT NULL DEFAULT 0,
    paused_reason   TEXT,
    options         TEXT NOT NULL DEFAULT '{}',
    cloned_at       INTEGER,
    last_fetched_at INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deleted_at      INTEGER
);
CREATE UNIQUE INDEX clients_by_repository ON clients (repository_key) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX clients_by_os_client_id ON clients (os_client_id)
    WHERE deleted_at IS NULL AND os_client_id IS NOT NULL;

CREATE TABLE jobs (
    number              INTEGER PRIMARY KEY AUTOINCREMENT,
    id                  TEXT NOT NULL UNIQUE,
    client              INTEGER NOT NULL REFERENCES clients (number),
    -- what was asked for
    prompt              TEXT NOT NULL,
    branch              TEXT NOT NULL,
    -- the branch in lower case: two that differ only in case cannot live side by side everywhere
    branch_key          TEXT NOT NULL,
    title               TEXT,
    body                TEXT,
    os_feature_id       TEXT,
    callback_url        TEXT,
    metadata            TEXT,
    labels              TEXT NOT NULL DEFAULT '[]',
    base_branch         TEXT,
    priority            INTEGER NOT NULL DEFAULT 0,
    options             TEXT NOT NULL DEFAULT '{}',
    submitted_by        TEXT NOT NULL,
    login               TEXT NOT NULL,
    -- the chain
    root_id             TEXT NOT NULL,
    original_id         TEXT,
    parent_id           TEXT,
    -- both set: the work starts with publishing this commit
    start_base_sha      TEXT,
    start_head_sha      TEXT,
    -- place in the queue: rank is the negated priority, turn deals the clients their rounds
    rank                INTEGER NOT NULL,
    turn                INTEGER NOT NULL,
    not_before          INTEGER,
    -- lifecycle
    status              TEXT NOT NULL,
    phase               TEXT NOT NULL,
    outcome             TEXT,
    reason_code         TEXT,
    reason_message      TEXT,
    attempt             INTEGER NOT NULL DEFAULT 0,
    attempts_counted    INTEGER NOT NULL DEFAULT 0,
    backoff_tries       INTEGER NOT NULL DEFAULT 0,
    lease_epoch         INTEGER,
    cancel_requested_at INTEGER,
    -- effects
    worktree_path       TEXT,
    base_sha            TEXT,
    -- what the remote branch had when the work began, '' for nothing: the push is pinned to it
    branch_tip          TEXT,
    head_sha            TEXT,
    pushed_sha          TEXT,
    pr_url              TEXT,
    pr_number           INTEGER,
    files_changed       INTEGER,
    insertions          INTEGER,
    deletions           INTEGER,
    session_id          TEXT,
    pid                 INTEGER,
    exit_code           INTEGER,
    usage               TEXT NOT NULL DEFAULT '{}',
    warnings            TEXT NOT NULL DEFAULT '[]',
    messages_last       INTEGER NOT NULL DEFAULT 0,
    last_output_at      INTEGER,
    -- times
    created_at          INTEGER NOT NULL,
    started_at          INTEGER,
    completed_at        INTEGER,
    updated_at          INTEGER NOT NULL
);
CREATE INDEX jobs_queued ON jobs (rank, turn, number) WHERE status = 'queued';
CREATE INDEX jobs_queued_by_client ON jobs (client, rank, turn) WHERE status = 'queued';
CREATE INDEX jobs_running ON jobs (client) WHERE status = 'running';
CREATE UNIQUE INDEX jobs_live_branch ON jobs (client, branch_key) WHERE status IN ('queued', 'running');
CREATE INDEX jobs_by_status ON jobs (status, number);
CREATE INDEX jobs_by_client ON jobs (client, number);
CREATE INDEX jobs_by_root ON jobs (root_id);

-- The turn that was started last, per priority: a client that comes anew begins there, not at the end of a flood.
CREATE TABLE turns (
    rank INTEGER PRIMARY KEY,
    turn INTEGER NOT NULL
);

CREATE TABLE attempts (
    job            INTEGER NOT NULL REFERENCES jobs (number),
    number         INTEGER NOT NULL,
    counted        INTEGER NOT NULL DEFAULT 0,
    started_at     INTEGER NOT NULL,
    ended_at       INTEGER,
    reason_code    TEXT,
    reason_message TEXT,
    exit_code      INTEGER,
    options        TEXT NOT NULL DEFAULT '{}',
    isolation      TEXT NOT NULL DEFAULT 'none',
    usage          TEXT NOT NULL DEFAULT '{}',
    -- length of the attempt's transcript that the messages speak of
    transcript_bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;

-- The supervised commands of an attempt. Written before the command is started, so that a restart knows where to look.
CREATE TABLE steps (
    job        INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    name       TEXT NOT NULL,
    -- who the shim is, as the process layer writes it; null: not started as far as we know
    shim       TEXT,
    released   INTEGER NOT NULL DEFAULT 0,
    -- how many records of the log have become messages
    log_records INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, attempt, name)
) WITHOUT ROWID;

CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    job     INTEGER NOT NULL,
    attempt INTEGER,
    kind    TEXT NOT NULL,
    payload TEXT NOT NULL DEFAULT '{}',
    at      INTEGER NOT NULL
);
CREATE INDEX events_by_job ON events (job, seq);

-- What people read of a job. The text of an agent stays in the attempt's transcript file, its place is kept here; short
-- system messages stand here themselves.
CREATE TABLE messages (
    job     INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    content TEXT,
    offset  INTEGER,
    bytes   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (job, seq)
) WITHOUT ROWID;

CREATE TABLE deliveries (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    job          INTEGER NOT NULL REFERENCES jobs (number),
    event_id     TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL,
    url          TEXT NOT NULL,
    body         BLOB NOT NULL,
    state        TEXT NOT NULL,
    tries        INTEGER NOT NULL DEFAULT 0,
    next_try_at  INTEGER,
    last_status  INTEGER,
    last_error   TEXT,
    created_at   INTEGER NOT NULL,
    delivered_at INTEGER
);
CREATE INDEX deliveries_due ON deliveries (next_try_at) WHERE state = 'pending';
CREATE INDEX deliveries_by_job ON deliveries (job);
CREATE INDEX deliveries_by_state ON deliveries (state);

CREATE TABLE delivery_tries (
    delivery    INTEGER NOT NULL REFERENCES deliveries (number),
    number      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    status      INTEGER,
    error       TEXT,
    duration_ms INTEGER NOT NULL,
    PRIMARY KEY (delivery, number)
) WITHOUT ROWID;

-- Callback URLs that answered 410.
CREATE TABLE suspended_urls (
    url   TEXT PRIMARY KEY,
    since INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE holds (
    login          TEXT PRIMARY KEY,
    reason_code    TEXT NOT NULL,
    reason_message TEXT NOT NULL,
    since          INTEGER NOT NULL,
    until          INTEGER,
    probe          INTEGER
) WITHOUT ROWID;

-- 2xx answers to requests that carried an Idempotency-Key.
CREATE TABLE answers (
    token      TEXT NOT NULL,
    method     TEXT NOT NULL,
    path       TEXT NOT NULL,
    key        TEXT NOT NULL,
    body_hash  TEXT NOT NULL,
    status     INTEGER NOT NULL,
    location   TEXT,
    body       BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (token, method, path, key)
) WITHOUT ROWID;
CREATE INDEX answers_by_age ON answers (created_at);
