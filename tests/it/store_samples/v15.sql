-- What an installation at schema 15 may hold: as before, and the results of a verification.
INSERT INTO clients (id, os_client_id, name, org, repo, repository_key, default_branch, cloned_at, created_at, updated_at)
VALUES ('cli-aaaa', 'os-1', 'widgets', 'Acme', 'widgets', 'acme/widgets', 'main', 1000, 900, 1000);

INSERT INTO jobs (id, client, prompt, branch, branch_key, submitted_by, login, root_id, rank, turn, status, phase,
    outcome, attempt, head_sha, pushed_sha, pr_url, pr_number, usage, messages_last, created_at, started_at,
    completed_at, updated_at, callback_url)
VALUES ('job-aaaa', 1, 'Add a file', 'feat/a', 'feat/a', 'admin', 'claude', 'job-aaaa', 0, 0, 'completed', 'done',
    'pull_request', 1, 'c0ffee', 'c0ffee', 'https://github.com/Acme/widgets/pull/12', 12,
    '{"input":10,"output":20,"cache_read":0,"cache_write":0,"cost_micro_usd":210000,"turns":3,"duration_ms":900}',
    1, 1000, 1100, 1200, 1200, 'https://example.org/hook');
INSERT INTO attempts (job, number, started_at, ended_at, exit_code, session_id, usage)
VALUES (1, 1, 1100, 1200, 0, '5e551044-0000-4000-8000-000000000000',
    '{"input":10,"output":20,"cache_read":0,"cache_write":0,"cost_micro_usd":210000,"turns":3,"duration_ms":900}');
INSERT INTO steps (job, attempt, name, shim, released, log_records) VALUES (1, 1, 'agent-1', '{}', 1, 9);
INSERT INTO messages (job, seq, kind, attempt, content, bytes, at) VALUES (1, 1, 'system', 1, 'worktree ready', 14, 1100);

INSERT INTO jobs (id, client, prompt, branch, branch_key, submitted_by, login, root_id, rank, turn, status, phase,
    attempt, attempts_counted, lease_epoch, pid, created_at, started_at, started_steady, updated_at)
VALUES ('job-bbbb', 1, 'Fix it', 'feat/b', 'feat/b', 'admin', 'claude', 'job-bbbb', 0, 1, 'running', 'agent',
    2, 1, 1, 4711, 1001, 1100, 1050, 1300);
INSERT INTO attempts (job, number, counted, started_at, ended_at, reason_code, reason_message)
VALUES (2, 1, 1, 1100, 1150, 'interrupted', 'The agent was cut off before it had finished.');
INSERT INTO attempts (job, number, started_at, transcript_bytes, server_deaths, server_deaths_in_a_row, end_judged)
VALUES (2, 2, 1200, 0, 1, 1, 1);
INSERT INTO meta (key, value) VALUES ('boot', 'another start of the machine');
INSERT INTO steps (job, attempt, name, shim, released, log_records) VALUES (2, 2, 'agent-1', '{}', 1, 7);

INSERT INTO jobs (id, client, prompt, branch, branch_key, submitted_by, login, root_id, rank, turn, status, phase,
    labels, created_at, updated_at)
VALUES ('job-cccc', 1, 'Tidy up', 'feat/c', 'feat/c', 'nightly', 'codex', 'job-cccc', 0, 2, 'queued', 'queued',
    '["night"]', 1002, 1002);

INSERT INTO turns (rank, turn) VALUES (0, 1);
INSERT INTO events (job, attempt, kind, payload, at) VALUES
    (1, NULL, 'job.queued', '{}', 1000), (1, 1, 'job.completed', '{}', 1200),
    (2, NULL, 'job.queued', '{}', 1001), (3, NULL, 'job.queued', '{}', 1002);
INSERT INTO deliveries (id, job, event_id, kind, url, body, state, tries, last_status, created_at, delivered_at)
VALUES ('dlv-aaaa', 1, 'evt-aaaa', 'job.completed', 'https://example.org/hook', x'7b7d', 'delivered', 1, 204, 1200, 1201);
INSERT INTO delivery_tries (delivery, number, at, status, duration_ms) VALUES (1, 1, 1201, 204, 12);
INSERT INTO holds (login, reason_code, reason_message, since, until, probe, due_at)
VALUES ('codex', 'usage_limit', 'The agent''s login has reached its usage limit.', 1000, 99000, NULL, 98000);

INSERT INTO jobs (id, client, prompt, branch, branch_key, submitted_by, login, root_id, rank, turn, status, phase,
    depends_on, blocked_by, created_at, updated_at)
VALUES ('job-dddd', 1, 'Then this', 'feat/d', 'feat/d', 'admin', 'claude', 'job-dddd', 0, 3, 'queued', 'queued',
    '["job-cccc"]', 1, 1003, 1003);
INSERT INTO waits (job, dependency) VALUES (4, 3);
INSERT INTO jobs (id, client, prompt, branch, branch_key, submitted_by, login, root_id, rank, turn, status, phase,
    run_at, created_at, updated_at)
VALUES ('job-eeee', 1, 'Tonight', 'feat/e', 'feat/e', 'admin', 'claude', 'job-eeee', 0, 4, 'queued', 'queued',
    1750000060000, 1004, 1004);
INSERT INTO events (job, attempt, kind, payload, at) VALUES (4, NULL, 'job.queued', '{}', 1003), (5, NULL, 'job.queued', '{}', 1004);
INSERT INTO meta (key, value) VALUES ('steady', '2000 2000 500 some-boot');
INSERT INTO jobs (id, client, prompt, branch, branch_key, submitted_by, login, root_id, original_id, rank, turn, status,
    phase, start_session_id, start_or_agent, created_at, updated_at)
VALUES ('job-ffff', 1, 'Add a file', 'feat/f', 'feat/f', 'admin', 'claude', 'job-ffff', 'job-aaaa', 0, 5, 'queued', 'queued',
    '5e551044-0000-4000-8000-000000000000', 0, 1005, 1005);
INSERT INTO events (job, attempt, kind, payload, at) VALUES (6, NULL, 'job.queued', '{}', 1005);

INSERT INTO clients (id, name, org, repo, repository_key, created_at, updated_at, deleted_at, clone_goes)
VALUES ('cli-gone', 'gone', 'acme', 'gone', 'acme/gone', 900, 1000, 1000, 1);
INSERT INTO events (job, attempt, kind, payload, at, message) VALUES (1, 1, 'job.note', '{}', 1100, 1);
UPDATE steps SET session = '5e551044-0000-4000-8000-000000000000', usage =
    '{"input":10,"output":20,"cache_read":0,"cache_write":0,"cost_micro_usd":210000,"turns":3,"duration_ms":900}' WHERE job = 1;
INSERT INTO usage_days VALUES (0, 1, 1, 0, 10, 20, 0, 0, 210000, 3, 900);
INSERT INTO usage_labels VALUES (0, 1, '', 1, 0, 10, 20, 0, 0, 210000, 3, 900);
INSERT INTO jobs (id, client, prompt, branch, branch_key, submitted_by, login, root_id, parent_id, rank, turn, status, phase,
    start_session_id, blocked_by, created_at, updated_at)
VALUES ('job-gggg', 1, 'And then', 'feat/b', 'feat/b', 'admin', 'claude', 'job-bbbb', 'job-bbbb', 0, 6, 'queued', 'queued',
    '', 1, 1006, 1006);
INSERT INTO waits (job, dependency, any_end) VALUES (7, 2, 1);
INSERT INTO events (job, attempt, kind, payload, at) VALUES (7, NULL, 'job.queued', '{}', 1006);
UPDATE jobs SET session_id = '5e551044-0000-4000-8000-000000000000' WHERE number = 1;

UPDATE jobs SET verify = '[{"command":"make test","round":2,"exit_code":0,"duration_ms":1200}]' WHERE id = 'job-aaaa';
