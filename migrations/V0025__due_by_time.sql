-- When the next queued job comes due by time is asked for after every change of the queue: without these every queued row is read.
CREATE INDEX jobs_not_before ON jobs (not_before) WHERE status = 'queued' AND not_before IS NOT NULL;
CREATE INDEX jobs_run_at ON jobs (run_at) WHERE status = 'queued' AND run_at IS NOT NULL;
