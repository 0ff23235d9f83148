-- Jobs that wait for a time or for other jobs.

ALTER TABLE jobs ADD COLUMN run_at INTEGER;
-- what the caller named, as a JSON array of job ids
ALTER TABLE jobs ADD COLUMN depends_on TEXT NOT NULL DEFAULT '[]';
-- number of its rows in waits
ALTER TABLE jobs ADD COLUMN blocked_by INTEGER NOT NULL DEFAULT 0;

-- Which queued job still waits for which: a row goes as soon as either of them is over.
CREATE TABLE waits (
    job        INTEGER NOT NULL REFERENCES jobs (number),
    dependency INTEGER NOT NULL REFERENCES jobs (number),
    PRIMARY KEY (job, dependency)
) WITHOUT ROWID;
CREATE UNIQUE INDEX waits_by_dependency ON waits (dependency, job);

-- A job may queue behind the live one on its branch when it waits for it; only one of them may ever be started.
DROP INDEX jobs_live_branch;
CREATE INDEX jobs_live_branch ON jobs (client, branch_key) WHERE status IN ('queued', 'running');
CREATE UNIQUE INDEX jobs_startable_branch ON jobs (client, branch_key)
    WHERE status IN ('queued', 'running') AND blocked_by = 0;
