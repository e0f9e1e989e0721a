-- To export and erase all of a user.
-- An index that was not completed is left invalid: each statement can be repeated.
-- transactional: false
-- depends: 0016_gone_runs

DROP INDEX CONCURRENTLY IF EXISTS attachments_by_owner;
CREATE INDEX CONCURRENTLY attachments_by_owner ON attachments (tenant, owner, id);
DROP INDEX CONCURRENTLY IF EXISTS imported_threads_by_owner;
CREATE INDEX CONCURRENTLY imported_threads_by_owner ON imported_threads (tenant, owner);
