-- What each step has used, and in which conversation of the agent: where an agent tells totals of the conversation, its
-- earlier steps are taken off. usage is null until the end of the step was seen.
ALTER TABLE steps ADD COLUMN usage TEXT;
ALTER TABLE steps ADD COLUMN session TEXT;
CREATE INDEX steps_by_session ON steps (session) WHERE session IS NOT NULL;

UPDATE steps SET usage = a.usage, session = coalesce(a.session_id, iif(a.number = j.attempt, j.session_id, NULL))
FROM attempts a JOIN jobs j ON j.number = a.job
WHERE steps.name = 'agent-1' AND a.job = steps.job AND a.number = steps.attempt
  AND a.ended_at IS NOT NULL AND a.usage <> '{}';

-- Sums by the day (UTC, counted from 1970-01-01) on which the end of a step was stored. They outlive the jobs.
CREATE TABLE usage_days (
    day                INTEGER NOT NULL,
    client             INTEGER NOT NULL REFERENCES clients (number),
    runs               INTEGER NOT NULL,
    runs_without_cost  INTEGER NOT NULL,
    input_tokens       INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    cache_read_tokens  INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cost_micro_usd     INTEGER NOT NULL,
    turns              INTEGER NOT NULL,
    duration_ms        INTEGER NOT NULL,
    PRIMARY KEY (day, client)
) WITHOUT ROWID;

-- The same by label. A job counts under each of its labels, one without any under ''.
CREATE TABLE usage_labels (
    day                INTEGER NOT NULL,
    client             INTEGER NOT NULL REFERENCES clients (number),
    label              TEXT NOT NULL,
    runs               INTEGER NOT NULL,
    runs_without_cost  INTEGER NOT NULL,
    input_tokens       INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    cache_read_tokens  INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cost_micro_usd     INTEGER NOT NULL,
    turns              INTEGER NOT NULL,
    duration_ms        INTEGER NOT NULL,
    PRIMARY KEY (day, client, label)
) WITHOUT ROWID;

INSERT INTO usage_days
SELECT a.ended_at / 86400000, j.client, count(*), sum(json_extract(a.usage, '$.cost_micro_usd') IS NULL),
    sum(min(json_extract(a.usage, '$.input'), 1000000000000)), sum(min(json_extract(a.usage, '$.output'), 1000000000000)),
    sum(min(json_extract(a.usage, '$.cache_read'), 1000000000000)), sum(min(json_extract(a.usage, '$.cache_write'), 1000000000000)),
    coalesce(sum(min(json_extract(a.usage, '$.cost_micro_usd'), 1000000000000)), 0), sum(min(json_extract(a.usage, '$.turns'), 1000000000000)),
    sum(min(json_extract(a.usage, '$.duration_ms'), 1000000000000))
FROM attempts a JOIN jobs j ON j.number = a.job
WHERE a.ended_at IS NOT NULL AND a.usage <> '{}'
GROUP BY 1, 2;

INSERT INTO usage_labels
SELECT a.ended_at / 86400000, j.client, coalesce(l.value, ''), count(*),
    sum(json_extract(a.usage, '$.cost_micro_usd') IS NULL),
    sum(min(json_extract(a.usage, '$.input'), 1000000000000)), sum(min(json_extract(a.usage, '$.output'), 1000000000000)),
    sum(min(json_extract(a.usage, '$.cache_read'), 1000000000000)), sum(min(json_extract(a.usage, '$.cache_write'), 1000000000000)),
    coalesce(sum(min(json_extract(a.usage, '$.cost_micro_usd'), 1000000000000)), 0), sum(min(json_extract(a.usage, '$.turns'), 1000000000000)),
    sum(min(json_extract(a.usage, '$.duration_ms'), 1000000000000))
FROM attempts a JOIN jobs j ON j.number = a.job LEFT JOIN (SELECT DISTINCT k.number, e.value FROM jobs k, json_each(k.labels) e) l ON l.number = j.number
WHERE a.ended_at IS NOT NULL AND a.usage <> '{}'
GROUP BY 1, 2, 3;
