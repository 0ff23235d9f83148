-- Files that come with a job. The row of the job tells their names and sizes, as a JSON array; what is in them is read once, by
-- the attempt that lays them out.
ALTER TABLE jobs ADD COLUMN attachments TEXT NOT NULL DEFAULT '[]';

CREATE TABLE attachments (
    job INTEGER NOT NULL REFERENCES jobs (number),
    name TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (job, name)
) STRICT;
