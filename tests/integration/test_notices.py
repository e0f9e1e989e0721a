"""Notices that are lost between others: what they would have brought is read."""

from __future__ import annotations

from relaykit.shared.journal import START, Batch, Field, Journals
from relaykit.shared.redis.client import open_redis
from tests.properties.life_client import Client, StillHub
from tests.support.journals import TTL
from tests.support.system import WAIT_SECONDS


async def test_a_notice_of_a_later_attempt_does_not_hide_what_is_not_known(redis_url: str) -> None:
    """It follows what is known, and so would what was lost before it."""
    async with open_redis(redis_url, connections=3) as redis, redis.pubsub() as pubsub:
        journals, hub, client = Journals(redis, TTL), StillHub(redis, 10_000), Client("run_1", "alice", [])
        await pubsub.psubscribe("*")
        await journals.write_first_entries("run_1", [b'{"type":"a"}'])
        await client.connect(hub, expected=True)
        await client.read()
        for attempt in (1, 2):
            entries = [(Field.ATTEMPT_START, b""), (Field.EVENT, b'{"type":"%d"}' % attempt)]
            await journals.append(Batch(run_id="run_1", attempt=attempt, first_seq=1, entries=entries))
        await pubsub.ping()
        notices = []
        while (message := await pubsub.get_message(timeout=WAIT_SECONDS)) is not None and message[
            "type"
        ] != "pong":
            notices += [{**message, "type": "message"}] if message["type"] == "pmessage" else []
        hub.send(notices[-1])
        await hub.hear()
        await client.read()
        await client.disconnect()
        assert [cursor for cursor, _ in client.frames] == [
            entry.cursor for entry in await journals.read("run_1", START, 10) if entry.field is Field.EVENT
        ]
