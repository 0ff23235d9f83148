-- When a job was first started, in steady time (src/store/steady.rs), so that how long it has been running does not jump with
-- the wall clock that started_at shows. Null for jobs that were started before.
ALTER TABLE jobs ADD COLUMN started_steady INTEGER;
