-- As at schema 12, and a job that follows up another, whose end it waits for.
INSERT INTO jobs (id, client, prompt, branch, branch_key, submitted_by, login, root_id, parent_id, rank, turn, status, phase,
    start_session_id, blocked_by, created_at, updated_at)
VALUES ('job-gggg', 1, 'And then', 'feat/b', 'feat/b', 'admin', 'claude', 'job-bbbb', 'job-bbbb', 0, 6, 'queued', 'queued',
    '', 1, 1006, 1006);
INSERT INTO waits (job, dependency, any_end) VALUES (7, 2, 1);
INSERT INTO events (job, attempt, kind, payload, at) VALUES (7, NULL, 'job.queued', '{}', 1006);
