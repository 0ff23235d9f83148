-- Conversations are looked up by their jobs.
CREATE INDEX jobs_by_session ON jobs (session_id, number) WHERE session_id IS NOT NULL;
CREATE INDEX jobs_with_session ON jobs (number) WHERE session_id IS NOT NULL;
