-- What a retry begins with, beside a commit.

-- the agent's conversation that is continued; '': it was to be continued and cannot be; null: the work starts afresh
ALTER TABLE jobs ADD COLUMN start_session_id TEXT;
-- 1: where the commit does not fit on the branch any more, the agent runs again
ALTER TABLE jobs ADD COLUMN start_or_agent INTEGER NOT NULL DEFAULT 0;
