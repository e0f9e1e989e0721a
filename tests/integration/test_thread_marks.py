"""What a page marks in a thread after a reload, and messages that are taken back while they wait."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chatkit.store import NotFoundError

from relaykit.api import thread_marks
from relaykit.shared.settings import Settings
from tests.integration.test_thread_policy import (
    GatedServer,
    Gates,
    Posted,
    begun,
    conversation,
    posts_are_left,
    status,
    thread_of,
)
from tests.support.servers.protocol_servers import Events, text_of
from tests.support.servers.user_servers import SqliteStore
from tests.support.system import Caller, create, message, running

__all__ = ["posts_are_left"]


class FailingServer(GatedServer):
    """Fails on a message that begins with "fail", before its first word or, on "fail late", after an item."""

    async def respond(self, thread: Any, input_user_message: Any, context: Any) -> Events:
        text = "" if input_user_message is None else text_of(input_user_message)
        async for event in super().respond(thread, input_user_message, context):
            if text == "fail":
                raise RuntimeError("no word of this is shown")
            yield event
        if text == "fail late":
            raise RuntimeError("no word of this is shown")

    async def add_feedback(self, thread_id: str, item_ids: list[str], feedback: str, context: Any) -> None:
        pass


class KeyedStore(SqliteStore):
    """What is absent is a KeyError, also where it is to be deleted."""

    def _one(self, query: str, *values: Any) -> str:
        try:
            return super()._one(query, *values)
        except NotFoundError as error:
            raise KeyError(values[0]) from error

    async def delete_thread_item(self, thread_id: str, item_id: str, context: Any) -> None:
        await self.load_item(thread_id, item_id, context)
        await super().delete_thread_item(thread_id, item_id, context)


@pytest.fixture
def gates() -> Gates:
    gates = Gates()
    gates.may_stop.set()
    return gates


Site = tuple[Settings, Callable[[], FailingServer]]


@pytest.fixture(params=["ours", "own"])
def site(request: pytest.FixtureRequest, settings: Settings, gates: Gates, tmp_path: Path) -> Site:
    """With our store, and with one of the site's own."""
    if request.param == "ours":
        return settings, lambda: FailingServer(gates)

    def server() -> FailingServer:
        made = FailingServer(gates)
        made.store = KeyedStore(str(tmp_path / "own.db"))
        return made

    return settings.model_copy(update={"chatkit_store": "own"}), server


async def marks(caller: Caller, thread_id: str) -> dict[str, Any]:
    response = await caller.get(f"/threads/{thread_id}/marks")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


async def test_runs_that_failed_or_were_stopped_are_told_with_their_items(
    settings: Settings, gates: Gates
) -> None:
    async with running(settings, lambda: FailingServer(gates)) as system:
        alice = await system.caller()
        thread_id = await thread_of(gates, alice)
        assert (await marks(alice, thread_id)) == {"runs": [], "feedback": {}}
        gates.open("fail late")
        assert (await alice.stream(message(thread_id, "fail late"))).end == "failed"
        stopped = Posted(alice, message(thread_id, "stop"))
        await begun(gates, "stop")
        await alice.cancel(await stopped.run_id())
        assert (await stopped.answer()).end == "cancelled"
        assert (await alice.stream(message(thread_id, "fail"))).end == "failed"
        texts = {item["id"]: item["content"][0]["text"] for item in await alice.items(thread_id)}
        found = (await marks(alice, thread_id))["runs"]
        assert [(each["status"], each["error"]) for each in found] == [
            ("failed", "stream.error"),
            ("cancelled", None),
            ("failed", "stream.error"),
        ]
        named = [
            (texts[each["item_id"]], [texts[id] for id in each["last_item_ids"] if id in texts])
            for each in found
        ]
        assert named == [("fail late", ["re fail late: done"]), ("stop", ["re stop:"]), ("fail", [])]


async def test_what_a_run_has_added_is_null_where_it_cannot_be_told(
    site: Site, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a store of the site's own, and where the message is older than the items that are looked at."""
    settings, server = site
    async with running(settings, server) as system:
        alice = await system.caller()
        thread_id = await thread_of(gates, alice)
        gates.open("fail late", "fail", "last")
        for text in ("fail late", "fail", "last"):
            await alice.stream(message(thread_id, text))

        async def told() -> list[Any]:
            ids = [each["last_item_ids"] for each in (await marks(alice, thread_id))["runs"]]
            return [each and len(each) for each in ids]

        is_ours = settings.chatkit_store == "postgres"
        assert await told() == ([1, []] if is_ours else [None, None])
        monkeypatch.setattr(thread_marks, "MARKED_ITEMS", 3)  # from the second message that failed on
        assert await told() == [None, [] if is_ours else None]
        monkeypatch.setattr(thread_marks, "MARKED_ITEMS", 2)
        assert await told() == [None, None]


async def test_a_message_that_was_answered_again_has_the_mark_of_its_last_run_alone(
    settings: Settings, gates: Gates
) -> None:
    async with running(settings, lambda: FailingServer(gates)) as system:
        alice = await system.caller()
        answer = await alice.stream(create("fail"))
        thread_id, (item,) = answer.thread_id, await alice.items(answer.thread_id)
        retry = {
            "type": "threads.retry_after_item",
            "params": {"thread_id": thread_id, "item_id": item["id"]},
        }
        assert (await alice.stream(retry)).end == "failed"
        (mark,) = (await marks(alice, thread_id))["runs"]
        assert (mark["kind"], mark["item_id"]) == ("threads.retry_after_item", item["id"])


async def test_feedback_is_told_as_it_was_given_last(settings: Settings, gates: Gates) -> None:
    async with running(settings, lambda: FailingServer(gates)) as system:
        alice = await system.caller()
        thread_id = await thread_of(gates, alice)
        answer = (await alice.items(thread_id))[-1]["id"]
        for kind in ("positive", "negative"):
            params = {"thread_id": thread_id, "item_ids": [answer], "kind": kind}
            response = await alice.post({"type": "items.feedback", "params": params})
            assert response.status_code == 200
            assert (await marks(alice, thread_id))["feedback"] == {answer: kind}


@pytest.mark.parametrize("site", ["own"], indirect=True)
async def test_a_waiting_message_of_a_thread_that_the_sites_store_has_deleted_is_taken_back(
    site: Site, gates: Gates
) -> None:
    settings, server = site
    async with running(settings, server) as system:
        alice = await system.caller()
        thread_id = await thread_of(gates, alice)
        first, second = Posted(alice, message(thread_id, "one")), Posted(alice, message(thread_id, "two"))
        await first.run_id()
        run_id = await second.run_id()
        await alice.ask({"type": "threads.delete", "params": {"thread_id": thread_id}})
        answer = await alice.withdraw(run_id)
        assert answer.json() == {"id": run_id, "status": "cancelled", "withdrawn": True}
        gates.open("one")
        await first.answer()
        await second.answer()


async def test_a_waiting_message_is_taken_back_and_a_begun_one_is_not(site: Site, gates: Gates) -> None:
    """The run behind it goes on, and no answer reads what was taken back."""
    settings, server = site
    async with running(settings, server) as system:
        alice = await system.caller()
        thread_id = await thread_of(gates, alice)
        posted = {}
        for text in ("one", "two", "three"):
            posted[text] = Posted(alice, message(thread_id, text))
            await posted[text].run_id()
        await begun(gates, "one")
        two = await posted["two"].run_id()
        waiting = [each["id"] for each in (await marks(alice, thread_id))["runs"]]
        assert waiting == [two, await posted["three"].run_id()]
        for _ in range(2):
            answer = await alice.withdraw(two)
            expected = {"id": two, "status": "cancelled", "withdrawn": True}
            assert (answer.status_code, answer.json()) == (200, expected)
        assert (await posted["two"].answer()).end == "cancelled"
        one = await posted["one"].run_id()
        refused = await alice.withdraw(one)
        assert refused.json() == {"id": one, "status": "running", "withdrawn": False}
        assert await status(alice, one) == "running"
        gates.open("one", "three")
        assert (await posted["three"].answer()).text == "re three: done"
        assert gates.begun["two"] == 0
        found = await conversation(alice, thread_id)
        expected = ["hello", "re hello: done", "one", "re one: done", "three", "re three: done"]
        if settings.chatkit_store == "own":  # where a message that waits stays where it is
            found, expected = sorted(found), sorted(expected)
        assert found == expected
