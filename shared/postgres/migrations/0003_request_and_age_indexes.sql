-- To find a body that comes again, and what the reaper looks for, while everybody goes on writing.
-- An index that was not completed is left invalid: each statement can be repeated.
-- transactional: false
-- depends: 0002_limits_and_retention

ALTER TABLE runs VALIDATE CONSTRAINT runs_max_attempts_check;

-- The same body again, sent without a key.
DROP INDEX CONCURRENTLY IF EXISTS runs_keyless_request;
CREATE INDEX CONCURRENTLY runs_keyless_request ON runs (tenant, owner, request_hash) WHERE idempotency_key IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS runs_running;
CREATE INDEX CONCURRENTLY runs_running ON runs (id) WHERE status = 'running';
DROP INDEX CONCURRENTLY IF EXISTS runs_ended;
CREATE INDEX CONCURRENTLY runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS threads_by_update;
CREATE INDEX CONCURRENTLY threads_by_update ON threads (updated_at);
