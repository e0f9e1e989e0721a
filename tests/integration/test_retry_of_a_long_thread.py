"""A retry of the first message of a long thread: everything after it goes in one statement."""

from __future__ import annotations

import psycopg

from relaykit.shared.settings import Settings
from tests.support.servers.relay_servers import ScriptedAnswers
from tests.support.system import create, running
from tests.support.work_counters import counted_statements

ITEMS = 500
LENGTHEN = """
INSERT INTO items (thread_id, tenant, owner, id, data)
SELECT thread_id, tenant, owner, id || '_' || number, data FROM items, generate_series(1, %s) AS number WHERE id = %s
"""


async def test_what_comes_after_the_message_is_deleted_in_one_statement(settings: Settings) -> None:
    with counted_statements() as statements:
        async with running(settings, ScriptedAnswers) as system:
            alice = await system.caller()
            first = await alice.stream(create("hi"))
            thread_id, message_id = first.thread_id, first.of_type("thread.item.done")[0]["item"]["id"]
            (answer,) = [item for item in await alice.items(thread_id) if item["type"] == "assistant_message"]
            with psycopg.connect(settings.database_url, autocommit=True) as database:
                assert database.execute(LENGTHEN, (ITEMS, answer["id"])).rowcount == ITEMS
            statements.clear()
            retried = await alice.stream(
                {
                    "type": "threads.retry_after_item",
                    "params": {"thread_id": thread_id, "item_id": message_id},
                }
            )
            deletions = {text: count for text, count in statements.items() if "DELETE FROM items" in text}
            left = await alice.items(thread_id)
    assert retried.end == "completed"
    assert list(deletions.values()) == [1]
    assert [item["type"] for item in left] == ["user_message", "assistant_message"]
