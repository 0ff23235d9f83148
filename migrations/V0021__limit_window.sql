-- Which usage limit holds a login, where its agent has named it: five_hour, weekly or other.
ALTER TABLE holds ADD COLUMN limit_window TEXT;
