-- As at schema 19, and a file that was kept of a job.
UPDATE jobs SET artifacts = '{"attempt":1,"files":[{"path":"out/report.html","bytes":12}]}' WHERE number = 1;
