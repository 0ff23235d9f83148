-- How the newest round of verification went, as a JSON array in the order in which its commands ran.
ALTER TABLE jobs ADD COLUMN verify TEXT NOT NULL DEFAULT '[]';
