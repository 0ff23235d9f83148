-- What people say to the agent of a job, in order. A turn of the agent is given what none of its attempt had before it.
CREATE TABLE inward (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    job     INTEGER NOT NULL REFERENCES jobs (number),
    -- the caller's own name for it
    name    TEXT,
    -- null: it only interrupts
    text    TEXT,
    said_by TEXT NOT NULL,
    said_at INTEGER NOT NULL,
    -- the attempt and the step that it was given to last; null: nobody yet
    attempt INTEGER,
    step    TEXT
);
CREATE INDEX inward_by_job ON inward (job, seq);
CREATE UNIQUE INDEX inward_by_name ON inward (job, name) WHERE name IS NOT NULL;
