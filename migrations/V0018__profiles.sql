-- Run options and a prompt template under a name. Those of the configuration file are not here.
CREATE TABLE profiles (
    name TEXT PRIMARY KEY,
    prompt TEXT,
    options TEXT NOT NULL,
    submit INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- What a job has of its profile: copied when it was accepted, so that nothing that becomes of the profile changes the job.
ALTER TABLE jobs ADD COLUMN profile TEXT;
ALTER TABLE jobs ADD COLUMN profile_options TEXT;
