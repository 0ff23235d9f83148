-- As at schema 22, and an agent that has said how it is logged in.
UPDATE jobs SET authentication = 'ANTHROPIC_API_KEY' WHERE number = 1;
UPDATE attempts SET authentication = 'ANTHROPIC_API_KEY' WHERE job = 1;
