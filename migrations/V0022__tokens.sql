-- Tokens with a name. Of the token itself there is only its SHA-256.
CREATE TABLE tokens (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    scope TEXT NOT NULL CHECK (scope IN ('read', 'submit', 'operate', 'admin')),
    -- a JSON list of ids of clients; NULL: all
    clients TEXT,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER,
    revoked_at INTEGER
) STRICT;

-- A name is free again when its token is revoked.
CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked_at IS NULL;
