-- When a run was last given to the queue: as it was accepted, when its turn in the thread came, or when a worker handed it
-- back. queued_at stays the time at which it was accepted. Rows that are there get the time of the migration.
-- depends: 0012_imported_threads

ALTER TABLE runs ADD COLUMN due_at timestamptz NOT NULL DEFAULT now();
