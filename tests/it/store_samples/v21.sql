-- As at schema 20, and a login that is held for its week.
UPDATE holds SET reason_code = 'usage_limit', until = 4000000000000, due_at = 4000000000000, limit_window = 'weekly' WHERE login = 'codex';
