-- To list runs by their status, their tenant and their user, newest first. Deployments without tenants have no entry in
-- the second: the empty tenant is nobody's.
-- An index that was not completed is left invalid: each statement can be repeated.
-- transactional: false
-- depends: 0014_operator_acts

DROP INDEX CONCURRENTLY IF EXISTS runs_by_status;
CREATE INDEX CONCURRENTLY runs_by_status ON runs (status, queued_at, id);
DROP INDEX CONCURRENTLY IF EXISTS runs_by_tenant;
CREATE INDEX CONCURRENTLY runs_by_tenant ON runs (tenant, queued_at, id) WHERE tenant <> '';
DROP INDEX CONCURRENTLY IF EXISTS runs_by_user;
CREATE INDEX CONCURRENTLY runs_by_user ON runs (owner, queued_at, id);
