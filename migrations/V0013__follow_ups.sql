-- 1: only the end of the other job is waited for, whatever it is; 0: its success.
ALTER TABLE waits ADD COLUMN any_end INTEGER NOT NULL DEFAULT 0;
