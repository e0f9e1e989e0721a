-- Which threads `relaykit import-threads` has brought, as they were then: an import that is run again writes over nothing
-- that has changed here since, and brings back nothing that was deleted here. So a row outlives its thread.
-- depends: 0011_received

CREATE TABLE imported_threads (
    thread_id     text PRIMARY KEY,
    tenant        text NOT NULL,
    owner         text NOT NULL,
    source_digest text NOT NULL,
    stored_digest text NOT NULL,
    imported_at   timestamptz NOT NULL DEFAULT now()
);
