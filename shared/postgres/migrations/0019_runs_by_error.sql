-- To list runs by their error, newest first. Runs without one have no entry.
-- An index that was not completed is left invalid: each statement can be repeated.
-- transactional: false
-- depends: 0018_redis_reached

DROP INDEX CONCURRENTLY IF EXISTS runs_by_error;
CREATE INDEX CONCURRENTLY runs_by_error ON runs (error, queued_at, id) WHERE error IS NOT NULL;
