"""Servers as sites have them run unchanged: with their own context, constructor, store, form and place."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from chatkit.server import ChatKitServer
from chatkit.store import Store

from relaykit.shared.settings import Settings
from relaykit.shared.site.loaded_server import load_server
from relaykit.shared.site.site_process import SiteProcess
from tests.support.servers.user_servers import (
    SLOW_WORDS,
    DictServer,
    NotebookServer,
    PlainServer,
    SiteServer,
    SqliteStore,
    StoreOnly,
    TakesAnything,
    TakesNothing,
)
from tests.support.system import (
    ROOT,
    Caller,
    System,
    create,
    fork_process,
    make_settings,
    message,
    running,
    running_processes,
)

HERE = "tests.support.servers.user_servers"
TRANSCRIBE = {"type": "input.transcribe", "params": {"audio_base64": "AAAA", "mime_type": "audio/webm"}}
THREE = re.compile(rb'" 3"|[" ]3 ')
"""In a delta of its own, or in one that a slow machine has merged with others."""
COUNTED = " ".join(map(str, range(SLOW_WORDS)))


async def talk(system: System, greeting: str) -> Caller:
    """Two turns through the queue, a request that the API answers itself, and a stop in mid-answer."""
    alice = await system.caller("alice", "acme")
    first = await alice.stream({**create("hi"), "metadata": {"page": "/home"}})
    assert (first.text, first.end) == (f"{greeting} at /home: hi (1)", "completed")
    second = await alice.stream(message(first.thread_id, "again", metadata={"page": "/cart"}))
    assert second.text == f"{greeting} at /cart: again (2)"
    said = [item["content"][0]["text"] for item in await alice.items(first.thread_id)]
    assert said == ["hi", first.text, "again", second.text]
    transcribed = await alice.ask({**TRANSCRIBE, "metadata": {"page": "/home"}})
    assert transcribed["text"] == f"{greeting} at /home"
    await stop(alice, first.thread_id)
    return alice


async def stop(alice: Caller, thread_id: str) -> None:
    """A stop in mid-answer keeps what was said so far, and the thread goes on afterwards."""
    async with alice.open_stream(message(thread_id, "count and wait")) as response:
        run_id = response.headers["x-run-id"]
        raw = b""
        async for part in response.aiter_bytes():
            raw += part
            if THREE.search(raw) and b": end" not in raw:
                await alice.cancel(run_id)
    assert raw.endswith(b": end cancelled\n\n")
    partial = (await alice.items(thread_id))[-1]["content"][0]["text"]
    assert partial.startswith("0 1 2 3")
    assert partial != COUNTED
    assert COUNTED.startswith(partial)
    assert (await alice.stream(message(thread_id, "go on"))).end == "completed"


async def resume(alice: Caller, elsewhere: Caller) -> None:
    """A client that was cut off goes on from its cursor at another API, without a gap and without a repetition."""
    async with alice.open_stream(create("count")) as response:
        run_id = response.headers["x-run-id"]
        seen = b""
        async for part in response.aiter_bytes():
            seen += part
            if THREE.search(seen):
                break
    seen = seen[: seen.rindex(b"\n\n") + 2]
    cursor = seen[seen.rindex(b"id: ") + 4 :].partition(b"\n")[0].decode()
    rest = await elsewhere.resume(run_id, cursor)
    whole = await elsewhere.resume(run_id, None)
    assert rest.end == "completed"
    assert events(seen) + events(rest.raw) == events(whole.raw)
    assert whole.text == COUNTED


def events(raw: bytes) -> list[bytes]:
    return [block for block in raw.split(b"\n\n") if block.startswith(b"id: ")]


async def test_a_class_with_a_context_dataclass_in_app_dir(settings: Settings, tmp_path: Path) -> None:
    """The site's folder is no package of ours and is on no path but APP_DIR; the constructor takes both stores."""
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(ROOT / "tests" / "support" / "servers" / "user_servers.py", site / "our_site.py")
    changes = {
        "app_dir": site,
        "chatkit_server": "our_site:SiteServer",
        "chatkit_context": "our_site:site_context",
    }
    async with running_processes(settings.model_copy(update=changes), tmp_path) as system:
        await talk(system, "Alice of acme")


async def test_an_instance_with_a_dict_as_context(settings: Settings, tmp_path: Path) -> None:
    """Its own store, which could not be shared, is replaced; its constructor takes nothing."""
    changes = {"chatkit_server": f"{HERE}:dict_server", "chatkit_context": f"{HERE}:dict_context"}
    changed = settings.model_copy(update=changes)
    async with running_processes(changed, tmp_path, start=fork_process) as system:
        await talk(system, "alice")


async def test_a_factory(settings: Settings, tmp_path: Path) -> None:
    """It is called with what a class would be called with."""
    changes = {"chatkit_server": f"{HERE}:make_server"}
    changed = settings.model_copy(update=changes)
    async with running_processes(changed, tmp_path, start=fork_process) as system:
        await talk(system, "alice")


@pytest.mark.parametrize("name", ["StoreOnly", "TakesNothing", "TakesAnything"])
async def test_classes_with_other_constructors(settings: Settings, name: str) -> None:
    """Found by name as above, API and worker for once in one process."""
    async with running(settings.model_copy(update={"chatkit_server": f"{HERE}:{name}"})) as system:
        await talk(system, "alice")


async def test_a_class_with_its_own_constructor_and_store(settings: Settings, tmp_path: Path) -> None:
    """CHATKIT_STORE=own: everything is in the site's own file, and nothing in our tables; stop and resume work."""
    notebook = tmp_path / "notebook.db"
    changes = {"chatkit_server": f"{HERE}:NotebookServer", "chatkit_store": "own"}
    own = settings.model_copy(update=changes)
    async with running_processes(own, tmp_path, apis=2, start=fork_process, NOTEBOOK=str(notebook)) as system:
        alice = await talk(system, "alice")
        elsewhere = await system.caller("alice", "acme", api=1)
        await resume(alice, elsewhere)
        await _errors_of_an_own_store(alice)
        threads = (await alice.ask({"type": "threads.list", "params": {}}))["data"]
        assert len(threads) == 2
    stored = await SqliteStore(str(notebook)).load_threads(10, None, "desc", _User("alice"))
    assert [thread.id for thread in stored.data] == [thread["id"] for thread in threads]
    assert await _rows(settings, "threads") == await _rows(settings, "items") == 0


class _User:
    def __init__(self, user_id: str) -> None:
        self.user_id = user_id


async def _errors_of_an_own_store(alice: Caller) -> None:
    """What the site's store does not find is answered as what it is; a thread that is deleted is gone."""
    for body in (
        message("thr_none", "x"),
        {"type": "items.list", "params": {"thread_id": "thr_none"}},
    ):
        response = await alice.post(body)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "thread_not_found")
    answer = await alice.stream(create("hi"))
    hi = (await alice.items(answer.thread_id))[0]["id"]
    retry = {"thread_id": answer.thread_id, "item_id": hi}
    again = await alice.stream({"type": "threads.retry_after_item", "params": retry})
    assert again.end == "completed"
    assert len(await alice.items(answer.thread_id)) == 2
    await alice.ask({"type": "threads.delete", "params": {"thread_id": answer.thread_id}})
    response = await alice.post({"type": "items.list", "params": {"thread_id": answer.thread_id}})
    assert response.status_code == 404


@pytest.mark.parametrize("policy", ["queue", "reject"])
async def test_a_busy_thread_of_an_own_store_stays_as_it_is(
    settings: Settings, tmp_path: Path, policy: str
) -> None:
    """Such a store cannot take back what admission wrote: a retry that is refused must have deleted nothing."""
    notebook = str(tmp_path / "notebook.db")
    own = settings.model_copy(update={"chatkit_store": "own", "thread_policy": policy})
    async with running(own, lambda: NotebookServer(notebook)) as system:
        alice = await system.caller("alice")
        first = await alice.stream(create("hi"))
        async with alice.open_stream(message(first.thread_id, "count and wait")) as response:
            before = await alice.items(first.thread_id)
            retry = {"thread_id": first.thread_id, "item_id": before[0]["id"]}
            refused = [{"type": "threads.retry_after_item", "params": retry}]
            if policy == "reject":
                refused.append(message(first.thread_id, "second"))
            for body in refused:
                answer = await alice.post(body)
                assert (answer.status_code, answer.json()["error"]["code"]) == (409, "thread_busy")
                assert answer.json()["error"]["run_id"] == response.headers["x-run-id"]
            assert await alice.items(first.thread_id) == before
            await alice.cancel(response.headers["x-run-id"])
            await response.aread()


async def _rows(settings: Settings, table: str) -> int:
    connection = await asyncpg.connect(settings.database_url)
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))
    finally:
        await connection.close()


# --- what a constructor gets


class _OurStore(SqliteStore):
    pass


class _OurAttachments:
    pass


def unopened(issuer_key_file: Path, server: str, **more: Any) -> Settings:
    """Settings of services that nobody will ask."""
    nowhere = ("redis://127.0.0.1:1", "postgresql://127.0.0.1:1/x")
    return make_settings(*nowhere, issuer_key_file, 1, chatkit_server=server, **more)


def load(settings: Settings, store: Store[Any], attachments: Any) -> ChatKitServer[Any]:
    user = load_server(SiteProcess("api", settings, store, attachments)).user
    assert user is not None
    return user.server


@pytest.mark.parametrize(
    ("name", "of_class"),
    [
        ("SiteServer", SiteServer),
        ("StoreOnly", StoreOnly),
        ("TakesNothing", TakesNothing),
        ("TakesAnything", TakesAnything),
        ("make_server", PlainServer),
        ("dict_server", DictServer),
    ],
)
def test_what_every_form_gets(issuer_key_file: Path, tmp_path: Path, name: str, of_class: type) -> None:
    """Our stores, whatever the constructor takes: they are passed where it does, and put there where it does not."""
    store: Store[Any] = _OurStore(str(tmp_path / "ours.db"))
    attachments: Any = _OurAttachments()
    server = load(unopened(issuer_key_file, f"{HERE}:{name}"), store, attachments)
    assert type(server) is of_class
    assert server.store is store
    assert server.attachment_store is attachments


def test_an_own_store_is_kept(issuer_key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With CHATKIT_STORE=own neither store is put in the place of what the server has."""
    monkeypatch.setenv("NOTEBOOK", str(tmp_path / "notebook.db"))
    settings = unopened(issuer_key_file, f"{HERE}:NotebookServer", chatkit_store="own")
    store: Store[Any] = _OurStore(str(tmp_path / "ours.db"))
    attachments: Any = _OurAttachments()
    server = load(settings, store, attachments)
    assert type(server.store) is SqliteStore
    assert server.attachment_store is None
