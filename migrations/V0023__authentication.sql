-- Where the credential of an agent comes from, in its own word, and in which attempt it said so.
ALTER TABLE jobs ADD COLUMN authentication TEXT;
ALTER TABLE attempts ADD COLUMN authentication TEXT;
