-- To find the objects that are due among those that are not yet.
-- An index that was not completed is left invalid: each statement can be repeated.
-- transactional: false
-- depends: 0005_one_statement

DROP INDEX CONCURRENTLY IF EXISTS attachment_garbage_by_age;
CREATE INDEX CONCURRENTLY attachment_garbage_by_age ON attachment_garbage (due_at);
