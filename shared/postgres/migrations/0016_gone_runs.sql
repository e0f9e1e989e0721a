-- The runs whose thread was deleted, from the statement that deleted it until nothing is left of them: neither a journal in
-- Redis nor a row. What the release before deletes is not here: its journals go with their time to live.
-- depends: 0015_operator_lists

CREATE TABLE gone_runs (
    run_id      text PRIMARY KEY,
    deleted_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX gone_runs_by_age ON gone_runs (deleted_at);
