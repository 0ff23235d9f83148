-- Which attempts were being walked when their server died without having left in order, on a machine that went on.

-- All of them.
ALTER TABLE attempts ADD COLUMN server_deaths INTEGER NOT NULL DEFAULT 0;
-- Those since the attempt last came forward: reached a phase or had something of its agent stored.
ALTER TABLE attempts ADD COLUMN server_deaths_in_a_row INTEGER NOT NULL DEFAULT 0;
