"""What has been seen of the runs so far, and what must hold of it after each step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from relaykit.shared.journal import START, Cursor, Entry, Field, entries
from relaykit.shared.redis import keys
from relaykit.shared.runs.run import TRANSITIONS, Status
from tests.properties.life import World
from tests.properties.life_client import Client

ROWS = """
SELECT id, owner, thread_id, seq, status, attempt, error, idempotency_key, request_hash, input ->> 'item_id' AS item_id
FROM runs ORDER BY seq
"""
ACTIVE = (Status.QUEUED, Status.RUNNING)


class Row(NamedTuple):
    """A run's row."""

    id: str
    owner: str
    thread_id: str
    seq: int
    status: Status
    attempt: int
    error: str | None
    idempotency_key: str | None
    request_hash: bytes
    item_id: str | None


@dataclass
class Record:
    """Of a world; `observe` after each step."""

    world: World
    rows: dict[str, Row] = field(default_factory=dict)
    items: set[str] = field(default_factory=set)
    """Those that attempts have stored: `<run>/<attempt>/<number>`."""
    journals: dict[str, list[Entry]] = field(default_factory=dict)
    written: dict[str, dict[Cursor, Entry]] = field(default_factory=dict)
    """All that was ever in each run's journal."""
    put: dict[str, dict[Cursor, tuple[Field, bytes]]] = field(default_factory=dict)
    """What attempts have sent to each run's journal."""
    accepted: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    """Threads."""
    lost: set[str] = field(default_factory=set)
    """Runs of whose journal something was lost: with Redis, by its time, or by trimming."""
    due: set[str] = field(default_factory=set)
    """The jobs that a claim would find."""
    rewound: set[tuple[str, int]] = field(default_factory=set)
    """The attempts that have taken back what was there before them."""

    last: set[tuple[str, int]] = field(default_factory=set)
    """The attempts after which no other may call the server."""

    def lose(self, run_ids: Iterable[str]) -> None:
        """The journals of these are gone."""
        for run_id in list(run_ids):
            if self.journals.pop(run_id, None):
                self.lost.add(run_id)

    async def observe(self) -> None:
        """Looks at everything, and holds it against what was there before."""
        async with self.world.database.connection() as connection:
            found = await connection.fetch(ROWS)
            stored = await connection.fetch("SELECT id FROM items WHERE id LIKE 'run%'")
        rows = {row["id"]: Row(**{**row, "status": Status(row["status"])}) for row in found}
        self._check_rows(rows)
        self._check_last()
        items = {row["id"] for row in stored}
        for item in items - self.items:
            run_id, attempt, _ = item.split("/")
            assert run_id not in self.rows or int(attempt) >= self.rows[run_id].attempt, (
                f"{item} was stored by an attempt that was over"
            )
        self.rows, self.items = rows, items
        self.accepted |= rows.keys()
        await self._observe_redis()

    def _check_rows(self, rows: dict[str, Row]) -> None:
        for was in self.rows.values():
            now = rows.get(was.id)
            if now is None:
                assert was.status.ended, f"forgotten: {was}"
                assert was.thread_id in self.deleted, f"forgotten: {was}"
                continue
            if now.status is not was.status:
                assert now.status in TRANSITIONS[was.status], (was, now)
            assert was.attempt <= now.attempt <= was.attempt + 1, (was, now)
            assert now.attempt == was.attempt or now.status is Status.RUNNING, (was, now)
            assert not was.status.ended or now == was, (was, now)
            if was.status is Status.WAITING and now.status is Status.QUEUED:
                before = [row for row in _in_thread(rows, now, Status.WAITING) if row.seq < now.seq]
                assert not before, f"{now} has overtaken {before}"
        keyed = [(row.owner, row.idempotency_key) for row in rows.values() if row.idempotency_key]
        assert len(keyed) == len(set(keyed)), f"a key has two runs: {rows}"
        for row in rows.values():
            active = _in_thread(rows, row, *ACTIVE)
            assert len(active) <= 1, active
            assert active or row.status is not Status.WAITING, f"{row} waits behind nothing"

    def _check_last(self) -> None:
        for run_id, attempt in self.last:
            later = [other for other in self.rewound if other[0] == run_id and other[1] > attempt]
            assert not later, f"{later} have called the server, and {attempt} was to be the last"

    async def _observe_redis(self) -> None:
        known = list(self.accepted)
        async with self.world.redis.pipeline(transaction=True) as pipeline:
            pipeline.time()
            pipeline.zrange(keys.QUEUE, 0, -1, withscores=True)
            for run_id in known:
                pipeline.exists(keys.lease(run_id))
                pipeline.xrange(keys.journal(run_id))
            (seconds, micros), queued, *found = await pipeline.execute()
        due_at = {run_id.decode(): score for run_id, score in queued}
        now_ms = seconds * 1000 + micros // 1000
        self.due = {run_id for run_id, score in due_at.items() if score <= now_ms}
        for run_id, held, records in zip(known, found[::2], found[1::2], strict=True):
            row = self.rows.get(run_id)
            if held and row is not None and not row.status.ended:
                assert due_at.get(run_id, 0) > now_ms, f"{row} is held, and a poller sees it"
            self._check_journal(run_id, entries(records), row)

    def _check_journal(self, run_id: str, journal: list[Entry], row: Row | None) -> None:
        was = self.journals.get(run_id, [])
        if was:
            assert journal, f"the journal of {run_id} is gone"
            trimmed = [entry.cursor for entry in was].index(journal[0].cursor)
            assert journal[: len(was) - trimmed] == was[trimmed:]
            if trimmed:
                self.lost.add(run_id)
        cursors = [entry.cursor for entry in journal]
        assert cursors == sorted(set(cursors))
        if run_id not in self.lost:
            assert cursors == _without_holes(cursors), cursors
        assert all(entry.field is not Field.END for entry in journal[:-1])
        if journal and row is not None:
            last = journal[-1]
            assert last.cursor.attempt <= row.attempt, (row, last)
            if last.field is Field.END:
                assert last.payload.decode() == row.status, (row, last)
        put = self.put.get(run_id, {})
        for entry in journal:
            of_attempt = entry.cursor.attempt > 0 and entry.field is Field.EVENT
            assert not of_attempt or put.get(entry.cursor) == (entry.field, entry.payload), (
                f"{entry} was not put"
            )
        written = self.written.setdefault(run_id, {})
        for entry in journal:
            if entry.field is Field.END and entry.cursor.seq == 1:
                assert run_id in self.lost, f"{entry} is all that is known of its attempt"
                continue
            known = written.setdefault(entry.cursor, entry)
            assert known == entry or known.field is entry.field is Field.ATTEMPT_START, (known, entry)
        self.journals[run_id] = journal

    def events(self, run_id: str) -> list[Entry]:
        """All events that the run's journal ever had, in order."""
        written = self.written.get(run_id, {})
        return [written[cursor] for cursor in sorted(written) if written[cursor].field is Field.EVENT]

    def check_client(self, client: Client) -> None:
        """He was sent the journal without a hole; and where he was sent the end, nothing of it is missing or stale."""
        run_id, events = client.run_id, self.events(client.run_id)
        sent = [cursor for cursor, _ in client.frames]
        assert sent == sorted(set(sent))
        attempts = {cursor.attempt for cursor in sent}
        for attempt in attempts:
            of_attempt = [event.cursor for event in events if event.cursor.attempt == attempt]
            seen = [cursor for cursor in sent if cursor.attempt == attempt]
            assert seen == of_attempt[: len(seen)], f"{client} has missed something"
        if run_id not in self.lost:
            assert sent == [event.cursor for event in events][: len(sent)], f"{client} has missed something"
        if client.told == "gone":
            assert run_id in self.lost or not self.written.get(run_id), f"{client} was told so without reason"
        elif client.told is not None:
            self._check_whole(client, events, sent)

    def _check_whole(self, client: Client, events: list[Entry], sent: list[Cursor]) -> None:
        row = self.rows.get(client.run_id)
        if row is None:
            return
        assert row.status.ended, f"{client} was told that {row} has ended"
        assert client.end in (None, row.status.value)
        last = [event.cursor for event in events if event.cursor.attempt == row.attempt]
        assert [cursor for cursor in sent if cursor.attempt == row.attempt] == last, (
            f"{client} has not been sent all of {row}"
        )
        if (row.id, row.attempt) in self.rewound:
            ghosts = {item for item in client.shown if _is_older(item, row)}
            assert not ghosts, f"{client} still shows {ghosts} of an earlier attempt of {row}"

    def check_calm(self) -> None:
        """Every run that was accepted has come to its end, and says so; nothing of a lost attempt is left."""
        for row in self.rows.values():
            assert row.status.ended, f"{row} was forgotten"
            journal = self.journals.get(row.id)
            if not journal:
                assert row.id in self.lost or not self.written.get(row.id), f"no journal of {row}"
            elif row.id not in self.lost:
                assert journal[-1].field is Field.END, f"{row} has no end entry"
            if (row.id, row.attempt) in self.rewound and row.thread_id not in self.deleted:
                stale = {item for item in self.items if _is_older(item, row)}
                assert not stale, f"{stale} of a lost attempt of {row} are stored"


def _in_thread(rows: dict[str, Row], one: Row, *statuses: Status) -> list[Row]:
    place = (one.owner, one.thread_id)
    return [row for row in rows.values() if (row.owner, row.thread_id) == place and row.status in statuses]


def _is_older(item: str, row: Row) -> bool:
    run_id, _, rest = item.partition("/")
    return run_id == row.id and int(rest.partition("/")[0]) < row.attempt


def _without_holes(cursors: list[Cursor]) -> list[Cursor]:
    """As they would have to be: from the first entry on, each attempt from 1."""
    places: list[Cursor] = []
    for cursor in cursors:
        before = places[-1] if places else START
        places.append(Cursor(cursor.attempt, before.seq + 1 if cursor.attempt == before.attempt else 1))
    return places if not places or places[0] == (0, 1) else []
