-- As at schema 14, and the results of a verification.
UPDATE jobs SET verify = '[{"command":"make test","round":2,"exit_code":0,"duration_ms":1200}]' WHERE id = 'job-aaaa';
