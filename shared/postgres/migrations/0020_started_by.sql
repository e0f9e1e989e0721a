-- The call of a worker that began the run's attempt: repeated after a lost answer, it finds its own start and begins
-- no other attempt. Empty it says nothing, as with the release before.
-- depends: 0019_runs_by_error

ALTER TABLE runs ADD COLUMN started_by uuid;
