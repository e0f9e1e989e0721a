-- When an API last reached Redis, in the one row that there is: an API that does not reach it tells by this whether
-- another one does, so that a balancer takes away the one that is cut off, and none where Redis itself is away.
-- depends: 0017_kept_by_owner

CREATE TABLE redis_reached (
    is_only     boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    reached_at  timestamptz NOT NULL
);
