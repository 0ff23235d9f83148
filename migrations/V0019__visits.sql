-- Somebody works on the job by hand: nothing of it starts until then.
CREATE TABLE visits (
    job     INTEGER PRIMARY KEY REFERENCES jobs (number),
    -- made up by the visitor: who has it may stay longer and hand back
    key     TEXT NOT NULL,
    visitor TEXT NOT NULL,
    since   INTEGER NOT NULL,
    -- in steady time; over by itself then
    until   INTEGER NOT NULL,
    -- 1: over, and what it has left running is still to be ended
    is_over INTEGER NOT NULL DEFAULT 0
);
-- The attempt behind which the job was taken over, what goes on with it ('publish' or 'agent'), and the attempt in which the
-- agent has had its first turn since.
ALTER TABLE jobs ADD COLUMN handed_after INTEGER;
ALTER TABLE jobs ADD COLUMN handed_to TEXT;
ALTER TABLE jobs ADD COLUMN handed_turn INTEGER;
