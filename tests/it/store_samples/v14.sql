-- As at schema 13, and a conversation that a finished job has held.
UPDATE jobs SET session_id = '5e551044-0000-4000-8000-000000000000' WHERE number = 1;
