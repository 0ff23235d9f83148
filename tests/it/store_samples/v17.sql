-- As at schema 16, and a file that came with a job.
UPDATE jobs SET attachments = '[{"name":"plan.txt","bytes":4}]' WHERE number = 3;
INSERT INTO attachments (job, name, content) VALUES (3, 'plan.txt', x'706c616e');
