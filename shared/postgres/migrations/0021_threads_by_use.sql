-- The threads of a caller by their last use, which each message notes in `updated_at`.
-- An index that was not completed is left invalid: each statement can be repeated.
-- transactional: false
-- depends: 0020_started_by

DROP INDEX CONCURRENTLY IF EXISTS threads_by_use;
CREATE INDEX CONCURRENTLY threads_by_use ON threads (tenant, owner, updated_at, seq);
