-- What operators have done, and what it did: a row for each act, written with it. An outcome that is empty is not known:
-- the act's process ended before it could say. Rows are kept: nothing but an operator makes them.
-- depends: 0013_due_at

CREATE TABLE operator_acts (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    actor   text NOT NULL,
    act     text NOT NULL,
    target  text NOT NULL,
    outcome text
);
CREATE INDEX operator_acts_by_target ON operator_acts (target, id);
