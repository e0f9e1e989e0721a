"""Applications with `server.process()` in a route, moved over by the steps of docs/migrate.md and nothing else.

Each runs by itself first; then its files are changed as the page says, and `relaykit dev` runs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoints.responses_endpoint import responses_endpoint
from tests.support.processes.local_mode import LocalMode
from tests.support.sites.moved_site import (
    MOVED,
    MovedSite,
    answered,
    application,
    asked,
    documented_code,
    shop_application,
    signed_in,
    streamed,
)
from tests.support.system import Answer, create, message, wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]

THREADS = {"type": "threads.list", "params": {"limit": 10, "order": "desc"}}


def items_of(thread_id: str) -> dict[str, Any]:
    return {"type": "items.list", "params": {"thread_id": thread_id, "limit": 100, "order": "asc"}}


def changed(name: str, *steps: str) -> set[str]:
    """The files of the application that a move changes."""
    files = {
        file.relative_to(MOVED / name / step)
        for step in steps
        for file in (MOVED / name / step).rglob("*.py")
    }
    return {str(file) for file in files if (MOVED / name / "before" / file).exists()}


async def test_the_stock_application(tmp_path: Path) -> None:
    """Its store in memory goes, and its route; it is answered for each user apart, and its own route stays."""
    site = application(tmp_path, "stock")
    (site.folder / "memory_store.py").write_text((MOVED / "memory_store.py").read_text())
    async with site.by_itself("main:app") as client:
        first = await streamed(client, create("hello"))
        assert answered(first) == "You have said: hello"
        again = await streamed(client, message(first.thread_id, "again"))
        assert answered(again) == "You have said: hello, again"
        page = (await client.get("/")).text
    site.apply("stock", "after")
    (site.folder / "memory_store.py").unlink()
    assert changed("stock", "after") == {"main.py"}
    async with site.under_relaykit() as client:
        assert (await client.get("/opening-hours")).json() == {"monday": "9 to 5"}
        assert (await client.get("/")).text == page
        assert "<relaykit-chat" in (await client.get("/demo")).text
        assert (await client.post("/chatkit", json=create("hello"))).status_code == 401
        alice, bob = await signed_in(client, "alice"), await signed_in(client, "bob")
        first = await streamed(client, create("hello"), alice)
        again = await streamed(client, message(first.thread_id, "again"), alice)
        assert (answered(again), again.end) == ("You have said: hello, again", "completed")
        assert len((await asked(client, items_of(first.thread_id), alice))["data"]) == 4
        assert (await asked(client, THREADS, bob))["data"] == []


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> MovedSite:
    return shop_application(tmp_path, database_url)


ALICE, BOB, NOBODY = ({"authorization": f"Bearer {key}"} for key in ("key-a", "key-b", "wrong"))


@pytest.mark.parametrize("way", ["import-threads", "CHATKIT_STORE=own"])
async def test_an_application_with_a_store_on_sqlalchemy(shop: MovedSite, way: str) -> None:
    """The conversations go on, either way; the caller is whom the API key names, in the chat and in the route."""
    async with shop.by_itself("web:app") as client:
        before = await streamed(client, create("what have I ordered?"), ALICE)
        assert answered(before) == "alice has ordered tea (question 1)"
        assert (await client.post("/chatkit", json=create("hi"), headers=NOBODY)).status_code == 401
    shop.apply("orders", "after")
    assert changed("orders", "after") == {"web.py"}
    if way == "CHATKIT_STORE=own":
        shop.set(CHATKIT_SERVER="hooks:on_the_shops_store", CHATKIT_STORE="own")
    with shop.moved() as mode:
        mode.ready()
        if way == "import-threads":
            brought = shop.relaykit(mode, "import-threads", "hooks:threads")
            assert brought.returncode == 0, brought.stderr
            assert brought.stdout == "1 threads read; done: 1 imported; items: 2\n"
        checked = shop.relaykit(mode, "check")
        assert checked.returncode == 0, checked.stdout
        async with shop.client(mode) as client:
            after = await streamed(client, message(before.thread_id, "and now?"), ALICE)
            assert (answered(after), after.end) == ("alice has ordered tea (question 2)", "completed")
            [thread] = (await asked(client, THREADS, ALICE))["data"]
            assert thread["id"] == before.thread_id
            assert (await asked(client, THREADS, BOB))["data"] == []
            assert (await client.get("/orders", headers=BOB)).json() == ["milk"]
            for request in (
                client.get("/orders", headers=NOBODY),
                client.post("/chatkit", json=create("hi")),
            ):
                assert (await request).status_code == 401


async def test_an_application_with_sessions_in_a_cookie(tmp_path: Path) -> None:
    """The cookie of Starlette's sessions signs in to the chat, until the member logs out."""
    site = application(tmp_path, "sessions", SESSION_SECRET="s" * 32)
    (site.folder / "memory_store.py").write_text((MOVED / "memory_store.py").read_text())
    async with site.by_itself("web:app") as client:
        assert (await client.post("/chatkit", json=create("hi"))).status_code == 401
        await client.post("/login", data={"user": "alice"})
        assert answered(await streamed(client, create("hi"))) == "Hello alice (message 1)"
    site.apply("sessions", "after")
    (site.folder / "memory_store.py").unlink()
    site.write("session_auth.py", documented_code("your-auth.md", "TimestampSigner"))
    site.write("context.py", documented_code("migrate.md", "def context"))
    assert changed("sessions", "after") == {"web.py"}
    async with site.under_relaykit() as client:
        assert (await client.post("/chatkit", json=create("hi"))).status_code == 401
        await client.post("/login", data={"user": "alice"})
        first = await streamed(client, create("hi"))
        assert answered(first) == "Hello alice (message 1)"
        assert (
            answered(await streamed(client, message(first.thread_id, "go on"))) == "Hello alice (message 2)"
        )
        assert (await client.get("/me")).json() == {"user": "alice"}
        forged = {"cookie": f"session={client.cookies['session'][:-1]}"}
        for headers in (forged, {"cookie": "session=nonsense"}):
            refused = await client.post("/chatkit", json=THREADS, headers=headers)
            assert refused.status_code == 401, refused.text
        from_elsewhere = await client.post(
            "/chatkit", json=THREADS, headers={"origin": "https://evil.example"}
        )
        assert (from_elsewhere.status_code, from_elsewhere.json()["error"]["code"]) == (
            403,
            "cross_site_request",
        )
        await client.post("/login", data={"user": "bob"})
        assert (await asked(client, THREADS))["data"] == []
        await client.post("/logout")
        assert (await client.post("/chatkit", json=THREADS)).status_code == 401


def status(answer: Answer) -> dict[str, Any]:
    """The cat as the page was told."""
    [effect] = answer.of_type("client_effect")
    assert effect["name"] == "update_cat_status"
    return dict(effect["data"]["state"])


def chosen_name(answer: Answer) -> dict[str, Any]:
    """The request of a click on the first name of the widget."""
    [widget] = [
        event["item"] for event in answer.of_type("thread.item.done") if event["item"]["type"] == "widget"
    ]
    action = widget["widget"]["children"][0]["onClickAction"]
    params = {
        "thread_id": widget["thread_id"],
        "item_id": widget["id"],
        "action": {"type": action["type"], "payload": action["payload"]},
    }
    return {"type": "threads.custom_action", "params": params}


async def test_a_sample_with_state_in_memory_and_a_route_of_its_own(tmp_path: Path) -> None:
    """Of the shape of OpenAI's cat lounge: tools, effects, a widget's action, and the page's own GET of the cat.

    As one meets it under `relaykit dev`: first the context of its agent refuses a store that is not the old one; then
    the route knows nothing of what the worker did; with the state in a database it does.
    """
    async with responses_endpoint() as model:
        site = application(
            tmp_path,
            "lounge",
            OPENAI_API_KEY="sk-test",
            OPENAI_BASE_URL=model.base_url,
            OPENAI_AGENTS_DISABLE_TRACING="1",
            CATS_FILE=str(tmp_path / "cats.db"),
        )
        (site.folder / "app" / "memory_store.py").write_text((MOVED / "memory_store.py").read_text())
        async with site.by_itself("app.main:app") as client:
            fed = await streamed(client, create("please call feed_cat"))
            assert status(fed)["snacks"] == 1
            assert (await client.get(f"/cats/{fed.thread_id}")).json()["cat"]["snacks"] == 1
        site.apply("lounge", "after")
        steps = ("after", "types", "state")
        assert changed("lounge", *steps) == {"app/main.py", "app/agent.py", "app/cat_store.py"}
        with site.moved() as mode:
            mode.ready()
            await wait_until("it says where the chat can be tried", lambda: "/demo\n" in mode.said)
            async with site.client(mode) as client:
                alice, bob = await signed_in(client, "alice"), await signed_in(client, "bob")
                refused = await streamed(client, create("please call feed_cat"), alice)
                assert refused.end == "failed"
                await wait_until(
                    "the terminal says why",
                    lambda: "Input should be an instance of MemoryStore" in mode.said,
                )
                await saved(mode, lambda: site.apply("lounge", "types"))
                fed = await streamed(client, create("please call feed_cat"), alice)
                assert status(fed)["snacks"] == 1
                cat = (await client.get(f"/cats/{fed.thread_id}", headers=alice)).json()["cat"]
                assert cat["snacks"] == 0, "the worker's memory is not the API's"
                await saved(mode, lambda: site.apply("lounge", "state"))
                fed = await streamed(client, create("please call feed_cat"), alice)
                assert (status(fed)["snacks"], fed.end) == (1, "completed")
                names = await streamed(client, message(fed.thread_id, "please call suggest_cat_names"), alice)
                named = await streamed(client, chosen_name(names), alice)
                assert answered(named) == "Miso purrs."
                path = f"/cats/{fed.thread_id}"
                cat = (await client.get(path, headers=alice)).json()["cat"]
                assert cat == {"name": "Miso", "energy": 7, "snacks": 1}
                assert (await client.get(path, headers=bob)).status_code == 404
                assert (await client.get(path)).status_code == 401
                [title] = [
                    thread["title"]
                    for thread in (await asked(client, THREADS, alice))["data"]
                    if thread["id"] == fed.thread_id
                ]
                assert title == "Miso's lounge"


async def saved(mode: LocalMode, save: Callable[[], None]) -> None:
    """Saves, and waits until what was saved runs."""
    before = mode.said.count("\nReloaded.\n")
    save()
    await wait_until("it is loaded anew", lambda: mode.said.count("\nReloaded.\n") > before)
