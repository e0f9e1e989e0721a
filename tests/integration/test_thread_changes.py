"""A thread that a run changes and others change meanwhile: each keeps what it has changed, and clients see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from chatkit.actions import Action
from chatkit.types import (
    LockedStatus,
    SyncCustomActionResponse,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    WidgetItem,
)

from relaykit.shared.identity import RequestContext
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.integration.persistence import ALICE, settings_for, thread
from tests.support.clients.stream_clients import Follower, asking
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import Caller, create, message, running

HOLD = 3
MINE = "My own name"

Change = Callable[[ThreadMetadata], None]


class Changing(ScriptedAnswers):
    """Changes the thread before the answer and after it, as it is told."""

    before: Change = staticmethod(lambda thread: None)
    after: Change = staticmethod(lambda thread: None)
    reloads = False

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ThreadStreamEvent]:
        type(self).before(thread)
        async for event in super().respond(thread, input_user_message, context):
            yield event
        if self.reloads:  # a tool that looks at something else in it
            await self.store.load_thread(thread.id, context)
        type(self).after(thread)


def title(text: str) -> Change:
    def change(thread: ThreadMetadata) -> None:
        thread.title = text

    return change


def metadata(**values: Any) -> Change:
    def change(thread: ThreadMetadata) -> None:
        thread.metadata.update(values)

    return change


def rename(thread_id: str, name: str) -> dict[str, Any]:
    return {"type": "threads.update", "params": {"thread_id": thread_id, "title": name}}


def request() -> RequestContext:
    """Another request of Alice's."""
    return RequestContext(user_id=ALICE.user_id, tenant=ALICE.tenant)


async def in_mid_answer(asker: Follower) -> None:
    await asker.until("in mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) == HOLD)


async def stored(settings: Settings, thread_id: str) -> ThreadMetadata:
    async with Database(settings) as database:
        return await PostgresStore(StoreCalls(database)).load_thread(
            thread_id, RequestContext(user_id="alice")
        )


async def title_shown(alice: Caller, thread_id: str) -> str | None:
    shown = await alice.ask({"type": "threads.get_by_id", "params": {"thread_id": thread_id}})
    return shown.get("title")


CASES: dict[str, tuple[Change, Change, bool]] = {
    "the server notes something at its end": (lambda thread: None, metadata(n=1), False),
    "the server titles the thread at its end": (lambda thread: None, title("A title by the model"), False),
    "the server betters its own title": (title("Derived"), title("A title by the model"), False),
    "the server has loaded the name, and saves the copy that it was given": (
        title("Derived"),
        metadata(n=1),
        True,
    ),
    "the server has loaded the name, and titles the thread": (title("Derived"), title("Better"), True),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_name_that_the_user_gives_during_an_answer_stays(
    settings: Settings, tmp_path: Path, case: str
) -> None:
    """In the row, in the list, and in the last word that the stream has of the thread."""
    before, after, reloads = CASES[case]
    script = Script(gate=str(tmp_path), holds=[HOLD])

    class Server(Changing):
        pass

    Server.before, Server.after, Server.reloads = staticmethod(before), staticmethod(after), reloads
    async with running(settings, Server) as system:
        alice = await system.caller()
        async with asking(alice, create(str(script))) as asker:
            await in_mid_answer(asker)
            thread_id = asker.answer.thread_id
            assert (await alice.ask(rename(thread_id, MINE)))["title"] == MINE
            open_gate(tmp_path, HOLD)
            answer = await asker.finished()
        assert answer.end == "completed"
        assert await title_shown(alice, thread_id) == MINE
        updates = [event["thread"].get("title") for event in answer.of_type("thread.updated")]
        assert updates[-1:] in ([], [MINE]), updates
        assert bool(updates) or after is CASES["the server titles the thread at its end"][1]
    kept = await stored(settings, thread_id)
    assert kept.title == MINE
    assert kept.metadata == ({"n": 1} if "notes" in case or "copy" in case else {})


async def test_a_run_keeps_what_it_changed_and_everybody_else_what_they_did(
    settings: Settings, tmp_path: Path
) -> None:
    """An admin's lock and note, the server's note, and the user's name, all in one answer."""

    class Server(Changing):
        after = staticmethod(metadata(by_run=1, both="run"))

    script = Script(gate=str(tmp_path), holds=[HOLD])
    async with running(settings, Server) as system, Database(settings) as database:
        alice, store = await system.caller(), PostgresStore(StoreCalls(database))
        async with asking(alice, create(str(script))) as asker:
            await in_mid_answer(asker)
            thread_id = asker.answer.thread_id
            admin = RequestContext(user_id="alice")
            locked = await store.load_thread(thread_id, admin)
            locked.status = LockedStatus(reason="by an admin")
            locked.metadata.update(by_admin=1, both="admin")
            await store.save_thread(locked, admin)
            await alice.ask(rename(thread_id, MINE))
            open_gate(tmp_path, HOLD)
            answer = await asker.finished()
        kept = await store.load_thread(thread_id, RequestContext(user_id="alice"))
    assert (kept.title, kept.status) == (MINE, LockedStatus(reason="by an admin"))
    assert kept.metadata == {"by_run": 1, "by_admin": 1, "both": "run"}
    assert answer.of_type("thread.updated")[-1]["thread"]["status"] == kept.status.model_dump()


async def test_a_later_run_titles_what_the_user_named_before_it_if_its_server_means_to(
    settings: Settings,
) -> None:
    class Server(Changing):
        before = staticmethod(title("By the server"))

    async with running(settings, Server) as system:
        alice = await system.caller()
        thread_id = (await alice.stream(create(str(Script())))).thread_id
        await alice.ask(rename(thread_id, MINE))
        assert (await alice.stream(message(thread_id, str(Script(deltas=2))))).end == "completed"
        assert await title_shown(alice, thread_id) == "By the server"


async def test_two_tabs_and_an_admin_at_once_each_keep_what_they_changed(database_url: str) -> None:
    """As often as they like: nothing is lost, and the last of the names stands."""
    async with Database(settings_for(database_url)) as database:
        store = PostgresStore(StoreCalls(database))
        made = thread()
        await store.save_thread(made, ALICE)

        async def change(number: int) -> None:
            for turn in range(10):
                caller = request()
                copy = await store.load_thread(made.id, caller)
                await asyncio.sleep(0)
                copy.metadata[f"by_{number}"] = turn
                if number == 0:
                    copy.title = f"name {turn}"
                await store.save_thread(copy, caller)
                assert copy.metadata[f"by_{number}"] == turn

        await asyncio.gather(*(change(number) for number in range(5)))
        thread_now = await store.load_thread(made.id, ALICE)
    assert thread_now.metadata == {f"by_{number}": 9 for number in range(5)}
    assert thread_now.title == "name 9"


async def test_a_save_that_changes_nothing_of_what_others_changed_costs_one_statement(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two where somebody has been faster."""
    async with Database(settings_for(database_url)) as database:
        store = PostgresStore(StoreCalls(database))
        statements: list[str] = []
        fetch = type(store._calls).rows

        async def counted(calls: Any, statement: str, *parameters: object) -> Any:
            statements.append(statement)
            return await fetch(calls, statement, *parameters)

        monkeypatch.setattr(type(store._calls), "rows", counted)
        made = thread()
        await store.save_thread(made, ALICE)
        assert len(statements) == 1
        made.metadata["n"] = 1
        await store.save_thread(made, ALICE)
        assert len(statements) == 2
        other = request()
        theirs = await store.load_thread(made.id, other)
        theirs.title = MINE
        await store.save_thread(theirs, other)
        statements.clear()
        made.metadata["n"] = 2
        await store.save_thread(made, ALICE)
        assert len(statements) == 2
        assert (made.title, made.metadata) == (MINE, {"n": 2})


class Counting(ScriptedAnswers):
    """A widget that counts its clicks, slowly: as SDK and guides have it, it is loaded, changed and stored."""

    async def sync_action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> SyncCustomActionResponse:
        assert sender is not None
        await asyncio.sleep(0.05)
        sender.copy_text = str(int(sender.copy_text or 0) + 1)
        await self.store.save_item(thread.id, sender, context)
        return SyncCustomActionResponse(updated_item=sender)


async def test_each_of_many_clicks_at_once_counts(settings: Settings) -> None:
    """In several tabs, at two APIs; another item's do not wait for it."""
    async with running(settings, Counting, apis=2, workers=1) as system, Database(settings) as database:
        tabs = [await system.caller(api=number % 2) for number in range(6)]
        thread_id = (await tabs[0].stream(create(str(Script(deltas=1))))).thread_id
        store, alice = PostgresStore(StoreCalls(database)), RequestContext(user_id="alice")
        for item_id in ("one", "other"):
            card = {"type": "Card", "children": []}
            item = WidgetItem(id=item_id, thread_id=thread_id, created_at=datetime.now(), widget=card)  # type: ignore[arg-type]
            await store.add_thread_item(thread_id, item, alice)

        def click(item_id: str) -> dict[str, Any]:
            params = {"thread_id": thread_id, "item_id": item_id, "action": {"type": "count", "payload": {}}}
            return {"type": "threads.sync_custom_action", "params": params}

        await asyncio.gather(*(tab.ask(click(item_id)) for tab in tabs for item_id in ("one", "other")))
        for item_id in ("one", "other"):
            counted = await store.load_item(thread_id, item_id, alice)
            assert isinstance(counted, WidgetItem)
            assert counted.copy_text == "6"
