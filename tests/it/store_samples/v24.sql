-- As at schema 23, with what was written down about a call.
INSERT INTO audit (at, token, name, call, target, request_id, peer, status)
    VALUES (1000, 'tok-abc234', 'ci', 'POST /jobs', '/jobs/job-a', 'req-1', '192.0.2.1', 201);
