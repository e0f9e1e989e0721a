"""The list of threads by their last use: a parameter of ours that other servers and lists do not mind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relaykit.shared.settings import Settings
from tests.integration.test_shared_attachments import with_attachments
from tests.support.servers.relay_servers import Script, ScriptedAnswers
from tests.support.servers.user_servers import NotebookServer
from tests.support.system import Caller, create, message, running

__all__ = ["with_attachments"]

SAY = str(Script(deltas=1))


async def listed(alice: Caller, **params: Any) -> list[dict[str, Any]]:
    """All threads, page by page."""
    found: list[dict[str, Any]] = []
    after = None
    while True:
        request = {"type": "threads.list", "params": {"order": "desc", "limit": 2, "after": after, **params}}
        page = await alice.ask(request)
        found += page["data"]
        if not page["has_more"]:
            return found
        after = page["after"]


def ids(threads: list[dict[str, Any]]) -> list[str]:
    return [thread["id"] for thread in threads]


async def test_a_message_takes_its_thread_to_the_top_of_a_list_by_activity_alone(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers) as system:
        alice, bob = await system.caller("alice"), await system.caller("bob")
        made = [(await alice.stream(create(SAY))).thread_id for _ in range(5)]
        await bob.stream(create(SAY))
        assert ids(await listed(alice, order_by="activity")) == made[::-1]
        await alice.stream(message(made[1], SAY))
        used = await listed(alice, order_by="activity")
        assert ids(used) == [made[1], *reversed(made[2:]), made[0]]
        assert [thread["active_at"] for thread in used] == sorted(
            (thread["active_at"] for thread in used), reverse=True
        )
        assert used[0]["active_at"] > used[0]["created_at"]
        plain = await listed(alice)
        assert ids(plain) == made[::-1]
        assert [thread for thread in plain if "active_at" in thread] == []
        without = [{name: each[name] for name in each if name != "active_at"} for each in used]
        assert sorted(without, key=lambda each: each["id"]) == sorted(plain, key=lambda each: each["id"])


async def test_a_message_with_an_attachment_takes_its_thread_to_the_top_too(
    with_attachments: Settings,
) -> None:
    async with running(with_attachments, ScriptedAnswers) as system:
        alice = await system.caller()
        made = [(await alice.stream(create(SAY))).thread_id for _ in range(3)]
        file = {"name": "a.txt", "size": 1, "mime_type": "text/plain"}
        attachment = await alice.ask({"type": "attachments.create", "params": file})
        await alice.client.put(attachment["upload_descriptor"]["url"], content=b"a")
        await alice.stream(message(made[1], SAY, attachments=[attachment["id"]]))
        assert ids(await listed(alice, order_by="activity")) == [made[1], made[2], made[0]]


async def test_a_refused_message_is_no_use_of_its_thread(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers) as system:
        alice = await system.caller()
        made = [(await alice.stream(create(SAY))).thread_id for _ in range(2)]
        used = await listed(alice, order_by="activity")
        refused = await alice.post(message(made[0], ""))
        assert refused.status_code == 422
        assert await listed(alice, order_by="activity") == used


@pytest.mark.parametrize(
    "after",
    [
        "thr_1",
        "~",
        "2026-01-01T00:00:00~1",
        "2026-01-01T00:00:00+00:00~-1",
        "x~1",
        "0001-01-01T00:00:00+23:59~1",
        "9999-12-31T23:59:59-23:59~1",
    ],
)
async def test_a_cursor_of_another_order_is_refused(settings: Settings, after: str) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        request = {"type": "threads.list", "params": {"order_by": "activity", "after": after}}
        answer = await alice.post(request)
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize("params", [{"order": "asc"}, {"order_by": "name"}, {"order_by": 7}])
async def test_an_order_that_is_not_known_is_that_of_the_sdk(
    settings: Settings, params: dict[str, Any]
) -> None:
    async with running(settings, ScriptedAnswers) as system:
        alice = await system.caller()
        made = [(await alice.stream(create(SAY))).thread_id for _ in range(3)]
        found = await listed(alice, **{"order_by": "activity", **params})
        assert ids(found) == (made if params.get("order") == "asc" else made[::-1])
        assert [thread for thread in found if "active_at" in thread] == []


async def test_a_store_of_the_sites_own_lists_as_it_does(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTEBOOK", str(tmp_path / "notebook.db"))
    own = settings.model_copy(update={"chatkit_store": "own"})
    async with running(own, NotebookServer) as system:
        alice = await system.caller()
        made = [(await alice.stream(create("hello"))).thread_id for _ in range(2)]
        found = await listed(alice, order_by="activity")
        assert sorted(ids(found)) == sorted(made)
        assert [thread for thread in found if "active_at" in thread] == []
