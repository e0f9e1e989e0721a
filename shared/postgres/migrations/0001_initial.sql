-- Threads, items, attachments, runs. `owner` and `tenant` stand in every row and in every query;
-- a caller without a tenant has the empty one. Order comes from sequences, never from clocks.
-- `data` is json, not jsonb: it keeps the bytes of a model's JSON, U+0000 among them.
-- depends:

CREATE TABLE threads (
    id          text PRIMARY KEY,
    tenant      text NOT NULL,
    owner       text NOT NULL,
    seq         bigint GENERATED ALWAYS AS IDENTITY,
    data        json NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX threads_by_owner ON threads (tenant, owner, seq);

CREATE TABLE items (
    thread_id   text NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    id          text NOT NULL,
    tenant      text NOT NULL,
    owner       text NOT NULL,
    seq         bigint GENERATED ALWAYS AS IDENTITY,
    data        json NOT NULL,
    PRIMARY KEY (thread_id, id)
);
CREATE INDEX items_by_thread ON items (thread_id, seq);

CREATE TABLE attachments (
    id          text PRIMARY KEY,
    tenant      text NOT NULL,
    owner       text NOT NULL,
    thread_id   text REFERENCES threads (id) ON DELETE CASCADE,
    data        json NOT NULL,
    declared_bytes bigint,
    size_bytes  bigint,
    object_key  text,
    uploaded_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX attachments_by_thread ON attachments (thread_id);
CREATE INDEX attachments_unsent ON attachments (created_at) WHERE thread_id IS NULL;

-- Objects to remove from the object store, once due. An upload notes its object here before it writes a byte
-- and takes the note back with the row that makes the object an attachment's, so a crash leaks nothing.
CREATE TABLE attachment_garbage (
    object_key  text PRIMARY KEY,
    due_at      timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION discard_attachment_object() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO attachment_garbage (object_key) VALUES (OLD.object_key)
    ON CONFLICT (object_key) DO UPDATE SET due_at = now();
    RETURN NULL;
END
$$;
CREATE TRIGGER attachments_discard AFTER DELETE ON attachments
    FOR EACH ROW WHEN (OLD.object_key IS NOT NULL) EXECUTE FUNCTION discard_attachment_object();

CREATE TABLE runs (
    id              text PRIMARY KEY,
    seq             bigint GENERATED ALWAYS AS IDENTITY,
    tenant          text NOT NULL,
    owner           text NOT NULL,
    thread_id       text NOT NULL,
    kind            text NOT NULL,
    input           json NOT NULL,
    context         json NOT NULL,
    token           bytea,
    anchor_item_id  text,
    status          text NOT NULL CHECK (status IN ('waiting', 'queued', 'running', 'completed', 'failed', 'cancelled')),
    attempt         integer NOT NULL DEFAULT 0,
    handed_back     integer NOT NULL DEFAULT 0,
    cancel_requested boolean NOT NULL DEFAULT false,
    error           text,
    idempotency_key text,
    request_hash    bytea,
    queued_at       timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    ended_at        timestamptz
);
CREATE UNIQUE INDEX runs_active_thread ON runs (tenant, owner, thread_id) WHERE status IN ('queued', 'running');
CREATE INDEX runs_waiting ON runs (tenant, owner, thread_id, seq) WHERE status = 'waiting';
CREATE UNIQUE INDEX runs_idempotency ON runs (tenant, owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_queued ON runs (queued_at) WHERE status = 'queued';
CREATE INDEX runs_by_thread ON runs (thread_id);
-- Makes `attempt` a key column: an UPDATE of it waits for the writers that hold FOR KEY SHARE on the row, which is
-- the fence of shared/store.py, while every other UPDATE passes them.
CREATE UNIQUE INDEX runs_attempt ON runs (id, attempt);
