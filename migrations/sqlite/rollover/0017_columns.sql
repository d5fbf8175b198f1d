-- The sealed columns that each replica registers, `<table>.<column>` in a JSON array: a
-- census that leaves out one of them proves nothing. An older version beside this one
-- renews its lease without them.
ALTER TABLE rollover_replica ADD COLUMN columns TEXT NOT NULL DEFAULT '[]';
