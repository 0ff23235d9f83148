-- The agent's conversation that an attempt held, so that the next one goes on with it and knows that it was asked before.
ALTER TABLE attempts ADD COLUMN session_id TEXT;
UPDATE attempts SET session_id = (SELECT j.session_id FROM jobs j WHERE j.number = attempts.job)
    WHERE number = (SELECT j.attempt FROM jobs j WHERE j.number = attempts.job);
