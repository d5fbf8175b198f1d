-- The newest migration that a program must know to work on this schema. Migrations only
-- add, so that a program of before goes on beside a newer one; the one that must do more
-- raises this to its own number, and programs of before are refused from then on.
ALTER TABLE rollover_meta ADD COLUMN needs INTEGER NOT NULL DEFAULT 0;
