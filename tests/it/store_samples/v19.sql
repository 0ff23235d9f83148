-- As at schema 18, with somebody who has a job, and a job that was handed back.
INSERT INTO visits (job, key, visitor, since, until) VALUES (2, 'a-key-of-a-visitor', 'admin', 1000, 2000);
UPDATE jobs SET handed_after = 1, handed_to = 'publish', handed_turn = 2 WHERE number = 3;
