-- Whether a server has begun to judge how a step of the attempt ended. The death of a server before that is no sign that the
-- attempt has brought it down: server_deaths_in_a_row counts from there on.
ALTER TABLE attempts ADD COLUMN end_judged INTEGER NOT NULL DEFAULT 0;
