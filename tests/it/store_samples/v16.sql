-- As at schema 15, with words for agents: one that was given, one that waits, one that interrupts.
INSERT INTO inward (job, name, text, said_by, said_at, attempt, step)
    SELECT min(number), 'm-1', 'Use tabs.', 'admin', 1000, 1, 'agent-1' FROM jobs;
INSERT INTO inward (job, name, text, said_by, said_at) SELECT min(number), NULL, 'Hurry.', 'admin', 2000 FROM jobs;
INSERT INTO inward (job, name, text, said_by, said_at) SELECT min(number), NULL, NULL, 'admin', 3000 FROM jobs;
