-- As at schema 10, and an attempt of which a step is over.
UPDATE attempts SET end_judged = 1 WHERE job = 2 AND number = 2;
