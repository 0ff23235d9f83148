-- Who has changed what, and who was refused. Rows are only added; the oldest go when their time is over.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    -- the id of a token, or 'admin', and its name
    token TEXT NOT NULL,
    name TEXT NOT NULL,
    -- method and route
    call TEXT NOT NULL,
    -- the path that was asked for, or that of what was made
    target TEXT NOT NULL,
    request_id TEXT NOT NULL,
    -- the address at the other end of the connection
    peer TEXT,
    status INTEGER NOT NULL
) STRICT;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'what is written down stays as it is');
END;

CREATE TRIGGER audit_is_not_taken_back BEFORE DELETE ON audit
WHEN OLD.seq > coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'audit_forgotten_to'), 0)
BEGIN
    SELECT RAISE(ABORT, 'what is written down stays for its time');
END;
