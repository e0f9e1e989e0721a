"""`relaykit import-threads`: a site's own store, read by the command in a process of its own, into ours."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from chatkit.types import FileAttachment, ImageAttachment

from relaykit import RequestContext
from relaykit.shared.settings import Settings
from relaykit.thread_import.importer import Outcome, decide
from relaykit.thread_import.rows import ThreadState
from tests.support.sites.old_site import OldSite, answered, said
from tests.support.system import Caller, message, running, wait_until


@pytest.fixture
def old(tmp_path: Path, settings: Settings) -> OldSite:
    return OldSite(tmp_path, settings)


async def test_a_conversation_goes_on_where_the_other_store_left_it(old: OldSite) -> None:
    """Threads with their titles in their order, items in theirs, of two users; and the next message is answered."""
    await old.write(
        "alice", "thr_a", said("thr_a", "m1", "first"), answered("thr_a", "m2", "second"), title="A"
    )
    await old.write("alice", "thr_b", said("thr_b", "m1", "other"), title="B")
    await old.write("bob", "thr_c", *[said("thr_c", f"m{n}", f"line {n}") for n in range(450)])
    lines, complaints = old.run("shop:everybody")
    assert lines == ["3 threads read; done: 3 imported; items: 453"]
    assert not [line for line in complaints if line.startswith("import-threads:")]
    assert old.texts("thr_c") == [f"line {n}" for n in range(450)]
    async with running(old.settings) as system:
        alice, bob = await system.caller("alice"), await system.caller("bob")
        listed = await alice.ask({"type": "threads.list", "params": {"limit": 10, "order": "asc"}})
        assert [(thread["id"], thread["title"]) for thread in listed["data"]] == [
            ("thr_a", "A"),
            ("thr_b", "B"),
        ]
        await alice.stream(message("thr_a", "third"))
        assert (await texts_of(alice, "thr_a"))[:3] == ["first", "second", "third"]
        assert await texts_of(bob, "thr_a") is None


async def texts_of(caller: Caller, thread_id: str) -> list[str] | None:
    request = {"type": "threads.get_by_id", "params": {"thread_id": thread_id}}
    response = await caller.post(request)
    if response.status_code == 404:
        return None
    return [item["content"][0]["text"] for item in response.json()["items"]["data"]]


async def test_a_second_import_writes_nothing(old: OldSite) -> None:
    old.write_many(5)
    old.run("shop:store", "--user", "alice")
    before = old.sql(
        "SELECT xmin::text, id FROM threads UNION ALL SELECT xmin::text, id FROM items ORDER BY 1, 2"
    )
    assert old.run("shop:store", "--user", "alice")[0] == ["5 threads read; done: 5 unchanged; items: 10"]
    after = old.sql(
        "SELECT xmin::text, id FROM threads UNION ALL SELECT xmin::text, id FROM items ORDER BY 1, 2"
    )
    assert after == before


async def test_an_import_that_is_killed_goes_on(old: OldSite) -> None:
    """What is here then is whole threads, and after the next import all of them once."""
    old.write_many(400)
    process = old.start("shop:store", "--user", "alice")
    try:
        await wait_until("some threads are here", lambda: old.sql("SELECT 1 FROM imported_threads LIMIT 1"))
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    [(threads, items)] = old.sql("SELECT (SELECT count(*) FROM threads), (SELECT count(*) FROM items)")
    assert 0 < threads < 400
    assert items == 2 * threads
    [line], _ = old.run("shop:store", "--user", "alice")
    assert line == f"400 threads read; done: {400 - threads} imported, {threads} unchanged; items: 800"
    assert old.sql("SELECT count(*) FROM items") == [(800,)]


async def test_two_imports_at_once_bring_each_thread_once(old: OldSite) -> None:
    old.write_many(150)
    processes = [old.start("shop:store", "--user", "alice") for _ in range(2)]
    for process in processes:
        _, complaints = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0, complaints
    assert old.sql("SELECT count(*), count(DISTINCT (thread_id, id)) FROM items") == [(300, 300)]


async def test_what_changed_on_either_side_since(old: OldSite) -> None:
    """Changed there: brought up to date. Changed or deleted here: left so. Changed in both: told, and left so."""
    old.write_many(6)
    old.run("shop:store", "--user", "alice")
    context = RequestContext(user_id="alice")
    await old.store.save_item("thr_1", answered("thr_1", "msg_2", "edited"), context)
    await old.store.save_item("thr_1", said("thr_1", "msg_3", "more"), context)
    await old.store.delete_thread_item("thr_2", "msg_1", context)
    rename = """UPDATE threads SET data = jsonb_set(data::jsonb, '{title}', '"mine"')::json WHERE id = %s"""
    old.sql(rename, "thr_3")
    old.sql("DELETE FROM threads WHERE id = 'thr_4'")
    old.sql(rename, "thr_5")
    await old.store.save_item("thr_5", said("thr_5", "msg_3", "theirs"), context)
    [line], complaints = old.run("shop:store", "--user", "alice", status=1)
    assert line == (
        "6 threads read; done: 2 updated, 1 unchanged, 1 gone on here, 1 deleted here, 1 changed in both; items: 13"
    )
    assert [line for line in complaints if "thread" in line] == [
        "import-threads: user 'alice', thread 'thr_5': changed in both; it was left as it is here"
    ]
    assert old.texts("thr_1") == ["question 1", "edited", "more"]
    assert old.texts("thr_2") == ["answer 2"]
    assert old.texts("thr_5") == ["question 5", "answer 5"]
    assert old.sql("SELECT data ->> 'title' FROM threads WHERE id IN ('thr_3', 'thr_5')") == [
        ("mine",),
        ("mine",),
    ]


async def test_a_thread_of_the_same_id_is_never_written_over(old: OldSite) -> None:
    """Another user's, one's own that no import brought, and one that an import has brought for another user."""
    old.write_many(3)
    insert = "INSERT INTO threads (id, tenant, owner, data) VALUES (%s, '', %s, '{}')"
    old.sql(insert, "thr_0", "mallory")
    old.sql(insert, "thr_1", "alice")
    await old.write("bob", "thr_b", said("thr_b", "m", "bob's"))
    old.run("shop:store", "--user", "bob")
    with sqlite3.connect(old.path) as db:
        db.execute("UPDATE threads SET owner = 'alice' WHERE id = 'thr_b'")
    [line], complaints = old.run("shop:store", "--user", "alice", status=1)
    assert line == "4 threads read; done: 1 imported, 3 of another; items: 7"
    assert [line.partition("thread ")[2][:7] for line in complaints if "of another" in line] == [
        "'thr_0'",
        "'thr_1'",
        "'thr_b'",
    ]
    assert old.sql("SELECT count(*) FROM items WHERE thread_id IN ('thr_0', 'thr_1')") == [(0,)]
    assert old.sql("SELECT owner FROM threads WHERE id = 'thr_b'") == [("bob",)]


async def test_a_dry_run_writes_nothing(old: OldSite) -> None:
    old.write_many(2)
    lines, _ = old.run("shop:store", "--user", "alice", "--dry-run")
    assert lines == ["2 threads read; would be done: 2 imported; items: 4"]
    assert old.sql("SELECT (SELECT count(*) FROM threads), (SELECT count(*) FROM imported_threads)") == [
        (0, 0)
    ]


async def test_a_thread_that_cannot_be_read_keeps_no_other_from_it(old: OldSite) -> None:
    """It is named with the type and the place of what was raised, whose text may hold a secret."""
    old.write_many(3)
    [line], complaints = old.run("shop:broken", "--user", "alice", status=1)
    assert line == "3 threads read; done: 2 imported, 1 failed; items: 4"
    [told] = [line for line in complaints if line.startswith("import-threads:")]
    assert told.startswith("import-threads: user 'alice', thread 'thr_1': RuntimeError at ")
    assert re.search(r"shop\.py:\d+:load_thread_items$", told)
    assert "secret" not in "".join(complaints)


@pytest.mark.parametrize(
    ("source", "words"),
    {
        "the same page for ever": ("shop:stuck", "it says that more follows, and gives the same page again"),
        "it ends the process": ("shop:exits", "SystemExit at "),
    }.values(),
)
async def test_a_store_that_does_not_end(old: OldSite, source: str, words: str) -> None:
    old.write_many(2)
    _, complaints = old.run(source, "--user", "alice", status=1)
    [told] = [line for line in complaints if line.startswith("import-threads:")]
    assert words in told


async def test_the_files_of_messages_come_with_their_bytes(old: OldSite, tmp_path: Path) -> None:
    """Under an id for which previews are renewed, the same each time; once, however often the import is run."""
    files = [
        FileAttachment(id="atc_1", name="notes.txt", mime_type="text/plain"),
        ImageAttachment(id="atc_2", name="p.png", mime_type="image/png", preview_url="http://old/p.png"),
    ]
    for file in files:
        await old.store.save_attachment(file, RequestContext(user_id="alice"))
    await old.write("alice", "thr_a", said("thr_a", "m1", "look", files))
    stored = {
        "attachments_url": f"file://{tmp_path / 'objects'}",
        "attachments_key": "k" * 32,
        "attachment_max_bytes": 1_000_000,
    }
    old.settings = old.settings.model_copy(update=stored)
    for _ in range(2):
        old.run("shop:with_files")
    assert sorted(path.read_bytes() for path in (tmp_path / "objects").iterdir()) == [b"notes.txt", b"p.png"]
    async with running(old.settings) as system:
        alice = await system.caller("alice")
        request = {"type": "threads.get_by_id", "params": {"thread_id": "thr_a"}}
        [item] = (await alice.ask(request))["items"]["data"]
        notes, image = item["attachments"]
        assert [len(file["id"]) for file in (notes, image)] == [36, 36]
        assert notes.get("upload_descriptor") is None
        shown = await alice.client.get(image["preview_url"])
        assert (shown.status_code, shown.content) == (200, b"p.png")


async def test_without_bytes_attachments_keep_their_addresses(old: OldSite) -> None:
    image = ImageAttachment(id="atc_2", name="p.png", mime_type="image/png", preview_url="http://old/p.png")
    await old.write("alice", "thr_a", said("thr_a", "m1", "look", [image]))
    old.run("shop:store", "--user", "alice")
    [(data, thread_id)] = old.sql("SELECT data, thread_id FROM attachments WHERE id = 'atc_2'")
    assert (data["preview_url"], thread_id) == ("http://old/p.png", "thr_a")


async def test_links_that_are_signed_anew_are_no_change(old: OldSite) -> None:
    image = ImageAttachment(id="atc_2", name="p.png", mime_type="image/png", preview_url="http://old/p.png")
    await old.write("alice", "thr_a", said("thr_a", "m1", "look", [image]))
    old.run("shop:signing", "--user", "alice")
    assert old.run("shop:signing", "--user", "alice")[0] == ["1 threads read; done: 1 unchanged; items: 1"]


async def test_bytes_that_come_later_are_brought(old: OldSite, tmp_path: Path) -> None:
    file = FileAttachment(id="atc_1", name="notes.txt", mime_type="text/plain")
    await old.write("alice", "thr_a", said("thr_a", "m1", "look", [file]))
    old.run("shop:store", "--user", "alice")
    stored = {"attachments_url": f"file://{tmp_path / 'objects'}", "attachments_key": "k" * 32}
    old.settings = old.settings.model_copy(update=stored)
    assert old.run("shop:with_files")[0] == ["1 threads read; done: 1 updated; items: 1"]
    assert [path.read_bytes() for path in (tmp_path / "objects").iterdir()] == [b"notes.txt"]


async def test_an_upload_that_is_under_way_fails_its_thread_and_no_other(
    old: OldSite, tmp_path: Path
) -> None:
    """As after an import that was killed within it: the claim ends by itself."""
    file = FileAttachment(id="atc_" + "a" * 32, name="notes.txt", mime_type="text/plain")
    await old.write("alice", "thr_a", said("thr_a", "m1", "look", [file]))
    await old.write("alice", "thr_b", said("thr_b", "m1", "no file"))
    stored = {"attachments_url": f"file://{tmp_path / 'objects'}", "attachments_key": "k" * 32}
    old.settings = old.settings.model_copy(update=stored)
    insert = (
        "INSERT INTO attachments (id, tenant, owner, data, declared_bytes) VALUES (%s, '', 'alice', '{}', 9)"
    )
    old.sql(insert, file.id)
    claim = "INSERT INTO attachment_uploads VALUES (%s, 'key', now() + interval '1 minute')"
    old.sql(claim, file.id)
    [line], complaints = old.run("shop:with_files", status=1)
    assert line == "2 threads read; done: 1 imported, 1 failed; items: 1"
    assert "upload_in_progress" in "".join(complaints)
    old.sql("DELETE FROM attachment_uploads")
    assert old.run("shop:with_files")[0] == ["2 threads read; done: 1 imported, 1 unchanged; items: 2"]


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
async def test_a_thread_that_a_store_gives_to_two_users_is_told(old: OldSite, more: list[str]) -> None:
    old.write_many(2)
    [_], complaints = old.run("shop:the_same", *more, status=1)
    told = [line for line in complaints if line.endswith("the store gives it to another user too")]
    assert len(told) == 2


def test_where_tenants_are_required_a_user_without_one_is_refused(old: OldSite) -> None:
    old.write_many(1)
    required = {"JWT_TENANT_REQUIRED": "true"}
    _, complaints = old.run("shop:store", "--user", "alice", status=2, **required)
    assert "user 'alice' has no tenant" in complaints[0]
    old.run("shop:store", "--user", "alice", "--tenant", "acme", **required)


async def test_a_file_that_is_too_large_is_told(old: OldSite, tmp_path: Path) -> None:
    file = FileAttachment(id="atc_1", name="big", mime_type="text/plain")
    await old.write("alice", "thr_a", said("thr_a", "m1", "look", [file]))
    stored = {
        "attachments_url": f"file://{tmp_path / 'objects'}",
        "attachments_key": "k" * 32,
        "attachment_max_bytes": 1_000_000,
    }
    old.settings = old.settings.model_copy(update=stored)
    _, complaints = old.run("shop:with_files", status=1)
    assert "attachment atc_1 has 5000000 bytes; ATTACHMENT_MAX_BYTES is less" in "".join(complaints)
    assert old.sql("SELECT count(*) FROM threads") == [(0,)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    {
        "no user": (["shop:store"], "--user says who"),
        "no module": (["nothing:store"], "No module named 'nothing'"),
        "no attribute": (["shop:nothing"], "has no attribute 'nothing'"),
        "no such form": (["shop"], "must be of the form package.module:attribute"),
        "no store": (["shop:number"], "gave a int, not a Store or a ThreadSource"),
        "no sources": (["shop:numbers"], "gave a int, not a Store or a ThreadSource"),
        "a user beside sources": (
            ["shop:everybody", "--user", "alice"],
            "--user and --tenant go with a store",
        ),
        "files without a place": (["shop:with_files"], "read_attachment needs ATTACHMENTS_URL"),
    }.values(),
)
def test_bad_usage_is_one_line(old: OldSite, arguments: list[str], words: str) -> None:
    _, complaints = old.run(*arguments, status=2)
    [told] = complaints
    assert words in told


async def test_a_source_without_a_name_is_told_with_its_place(old: OldSite) -> None:
    _, complaints = old.run("shop:nameless", status=1)
    [told] = complaints
    assert told.startswith("import-threads: shop:nameless: ValueError at ")


def test_a_store_of_the_sites_own_takes_no_import(old: OldSite) -> None:
    _, complaints = old.run("shop:store", "--user", "alice", status=2, CHATKIT_STORE="own")
    assert "CHATKIT_STORE=own" in complaints[0]


def states() -> list[ThreadState]:
    bits = range(1 << len(ThreadState._fields))
    return [ThreadState(*(bool(number >> place & 1) for place in range(6))) for number in bits]


SAFE: dict[Outcome, Callable[[ThreadState], bool]] = {
    Outcome.IMPORTED: lambda state: not state.is_here and not state.is_noted,
    Outcome.UPDATED: lambda state: state.is_own and state.is_noted_own and state.same_here,
}


@pytest.mark.parametrize("state", states(), ids=lambda state: "".join("01"[field] for field in state))
def test_nothing_that_was_written_or_deleted_here_is_lost(state: ThreadState) -> None:
    """In each of the states that there can be, what writes has nothing of this side's to write over."""
    outcome = decide(state)
    assert outcome not in SAFE or SAFE[outcome](state)
