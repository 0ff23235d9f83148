-- As at schema 21, with a token that is limited to one client, and one that was revoked.
INSERT INTO tokens (id, name, hash, scope, clients, created_at, created_by, expires_at, last_used_at, revoked_at) VALUES
    ('tok-abc234', 'ci', zeroblob(32), 'submit', '["cli-a"]', 1000, 'admin', 4000000000000, 2000, NULL),
    ('tok-def567', 'ci', zeroblob(32), 'admin', NULL, 1000, 'admin', NULL, NULL, 1500);
