-- Files of a job's worktree that are kept: the attempt that kept them, and their paths and sizes in the order of their
-- numbers on disk, as a JSON object; null where nothing was kept.
ALTER TABLE jobs ADD COLUMN artifacts TEXT;
