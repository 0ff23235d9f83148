-- 1 from the deletion of a client that takes the clone along until the clone is gone: what a killed server was about to
-- remove is removed by the next one.
ALTER TABLE clients ADD COLUMN clone_goes INTEGER NOT NULL DEFAULT 0;
