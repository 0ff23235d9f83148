-- As at schema 17, with a profile, and a job that was submitted with it.
INSERT INTO profiles (name, prompt, options, submit, created_at, updated_at)
    VALUES ('review', 'Review {{path}}', '{"maxTurns":9}', 1, 1000, 2000);
UPDATE jobs SET profile = 'review', profile_options = '{"maxTurns":7}' WHERE number = 3;
