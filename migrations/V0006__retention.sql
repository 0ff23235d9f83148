-- Finished jobs by their age, for forgetting the oldest.
CREATE INDEX jobs_by_end ON jobs (completed_at) WHERE completed_at IS NOT NULL;

-- Jobs that name a worktree: once it is gone they name none.
CREATE INDEX jobs_with_worktree ON jobs (number) WHERE worktree_path IS NOT NULL;
