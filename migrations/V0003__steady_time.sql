-- Waits that the server chooses itself end at a steady time (src/store/steady.rs), so that setting the wall clock neither
-- stretches nor cuts them: jobs.not_before, deliveries.next_try_at, answers.created_at from here on. Until now both were
-- the same. The end of a usage limit is an instant of the wall clock; whichever of the two comes first ends the hold.

ALTER TABLE holds ADD COLUMN due_at INTEGER;
UPDATE holds SET due_at = until;
