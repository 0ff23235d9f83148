-- What an agent says and what the server says of it are events too. The words stand in the message; null: it has none.
ALTER TABLE events ADD COLUMN message INTEGER;
