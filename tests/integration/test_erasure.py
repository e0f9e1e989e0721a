"""What an operator exports and erases of a thread or a user, while chats go on: on a real system, by the command."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
import structlog
from chatkit.store import NotFoundError
from prometheus_client import REGISTRY
from psycopg import sql

from relaykit.operator_commands.services import OperatorServices, opened_services
from relaykit.shared.errors import QueueUnavailable, StorageUnavailable
from relaykit.shared.identity import RequestContext
from relaykit.shared.operating import erasure as erasure_module
from relaykit.shared.operating.act_errors import RunHeld
from relaykit.shared.owner import Owner
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.shared.settings import Settings
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.integration.s3_server import s3_server
from tests.integration.test_attachments import KEY, PNG
from tests.integration.test_gone_runs import refused
from tests.support.clients.stream_clients import asking
from tests.support.processes.commands import answered, command
from tests.support.processes.crash_points import CrashPoint, arm
from tests.support.processes.forked import run_command
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.servers.user_servers import NotebookServer
from tests.support.system import (
    START_SECONDS,
    Caller,
    create,
    environment,
    free_port,
    message,
    running,
    wait_until,
)

ALICE = Owner(tenant="acme", user_id="alice")
OWNED = ("threads", "items", "runs", "attachments", "unsent_attachments", "awaited_calls", "imported_threads")


@pytest.fixture
def kept(settings: Settings, tmp_path: Path) -> Settings:
    """With attachments in a folder."""
    return settings.model_copy(
        update={
            "attachments_url": (tmp_path / "files").as_uri(),
            "attachments_key": KEY,
            "public_url": f"http://127.0.0.1:{settings.port}",
        }
    )


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, connections=2) as client:
        yield client


@pytest_asyncio.fixture
async def services(kept: Settings) -> AsyncIterator[OperatorServices]:
    async with opened_services(kept) as opened:
        opened.need()
        yield opened


def rows(settings: Settings, table: str, owner: str = "alice") -> list[tuple[Any, ...]]:
    """Of the user, or of all in a table that has no owner."""
    found = sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        if table in OWNED:
            return connection.execute(found + sql.SQL(" WHERE owner = %s"), [owner]).fetchall()
        return connection.execute(found).fetchall()


def left(settings: Settings, owner: str = "alice") -> dict[str, int]:
    """How many rows the user has in each table that has any."""
    return {table: count for table in OWNED if (count := len(rows(settings, table, owner)))}


async def journals_with_events(redis: Redis) -> set[str]:
    found = set()
    async for key in redis.scan_iter(match="run:*:events"):
        if any(b"e" in fields for _, fields in await redis.xrange(key)):
            found.add(key.decode())
    return found


def files(settings: Settings) -> list[Path]:
    folder = Path(str(settings.attachments_url).removeprefix("file://"))
    return [path for path in folder.rglob("*") if path.is_file()]


async def uploaded(caller: Caller) -> str:
    file = {"name": "a.png", "size": len(PNG), "mime_type": "image/png"}
    made = await caller.ask({"type": "attachments.create", "params": file})
    assert (await caller.client.put(made["upload_descriptor"]["url"], content=PNG)).status_code == 204
    return str(made["id"])


async def chat(caller: Caller) -> str:
    """A thread of two turns, whose first shows an attachment; its id."""
    first = await caller.stream(create("see", attachments=[await uploaded(caller)]))
    await caller.stream(message(first.thread_id, "and now?"))
    return first.thread_id


async def test_a_user_in_the_midst_of_an_answer_is_erased_and_nobody_else(
    kept: Settings, redis: Redis, tmp_path: Path
) -> None:
    """All of it at once: rows, journals, bytes. What the worker still writes is refused; the client has the end."""
    script = Script(deltas=6, gate=str(tmp_path / "gate"), holds=[3], swallow="once")
    async with running(kept, ScriptedAnswers) as system:
        alice, bob = await system.caller("alice", "acme"), await system.caller("bob", "acme")
        same_name = await system.caller("alice", "globex")
        await chat(alice)
        await uploaded(alice)
        other, third = await chat(bob), await chat(same_name)
        async with asking(alice, create(str(script))) as asker:
            await asker.until("the answer has begun", lambda answer: answer.text)
            behind = message(asker.answer.thread_id, "and behind it")
            async with asking(alice, behind) as waiting:
                await waiting.until("it waits", lambda answer: answer.events)
                before = await journals_with_events(redis)
                erasing = asyncio.create_task(
                    command(kept, "users", "erase", "alice", "--tenant", "acme", "--yes", "--json")
                )
                await asker.until("the client has the end", lambda answer: answer.end)
                open_gate(tmp_path / "gate", 3)
                done = await erasing
                assert (done.status, done.errors) == (0, "")
                assert (asker.answer.end, waiting.answer.end) == ("cancelled", "cancelled")
        counts = done.json
        assert (counts["threads"], counts["attachments"], counts["bytes"]) == (2, 2, 2 * len(PNG))
        assert (counts["runs"], counts["journals"], counts["items"]) == (4, 4, 6)
        with psycopg.connect(kept.database_url, autocommit=True) as connection:
            acme = "SELECT count(*) FROM {} WHERE owner = 'alice' AND tenant = 'acme'"
            for table in OWNED:
                query = sql.SQL(acme).format(sql.Identifier(table))
                assert connection.execute(query).fetchone() == (0,), table
        assert (rows(kept, "gone_runs"), rows(kept, "attachment_garbage")) == ([], [])
        assert len(before) - len(await journals_with_events(redis)) == 4
        assert len(files(kept)) == 2
        assert len(await bob.items(other)) == len(await same_name.items(third)) == 4
        again = await command(kept, "users", "erase", "alice", "--tenant", "acme", "--yes")
        assert again.status == 2
        assert (
            again.error
            == "relaykit users erase: user_not_found: Nothing is here of user alice of tenant acme."
        )
        [act] = rows(kept, "operator_acts")
        assert (act[3], act[4]) == ("erase", f"user {ALICE.digest}")
        assert "2 threads, 6 items, 4 runs" in act[5]


async def test_a_thread_is_erased_and_an_attachment_that_another_shows_stays(
    kept: Settings, redis: Redis
) -> None:
    async with running(kept, ScriptedAnswers) as system:
        alice = await system.caller()
        shared = await uploaded(alice)
        first = await alice.stream(create("one", attachments=[shared, await uploaded(alice)]))
        second = await alice.stream(create("two", attachments=[shared]))
        refused = await command(kept, "threads", "erase", first.thread_id)
        assert (refused.status, left(kept)["threads"]) == (2, 2)
        assert (await answered(kept, "n", "threads", "erase", first.thread_id)).status == 2
        done = await answered(kept, "y", "threads", "erase", first.thread_id)
        assert (done.status, done.output.strip()) == (
            0,
            f"erased: 1 threads, 2 items, 1 runs, 1 journals, 1 attachments, {len(PNG)} bytes",
        )
        assert left(kept) == {"threads": 1, "items": 2, "runs": 1, "attachments": 1}
        assert len(files(kept)) == 1
        assert await journals_with_events(redis) == {keys.journal(second.run_id)}
        assert (await alice.items(second.thread_id))[0]["attachments"][0]["id"] == shared
        again = await command(kept, "threads", "erase", first.thread_id, "--yes")
        assert (again.status, again.error.split(": ")[1]) == (2, "thread_not_found")


async def test_what_a_failure_left_is_erased_when_it_is_done_again(
    kept: Settings, services: OperatorServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of the three services: rows first, then journals, then bytes."""
    async with running(kept, ScriptedAnswers) as system:
        alice = await system.caller("alice", "acme")
        for _ in range(3):
            await chat(alice)
        async with open_redis(f"redis://127.0.0.1:{free_port()}/0", connections=1) as away:
            erasure = services.erasure()
            there, erasure.gone_runs._journals._redis = erasure.gone_runs._journals._redis, away
            with pytest.raises(QueueUnavailable):
                await erasure.user(ALICE, "ann")
            erasure.gone_runs._journals._redis = there
        erasure = services.erasure()
        folder = Path(str(kept.attachments_url).removeprefix("file://"))
        moved = folder.rename(folder.with_name("elsewhere"))
        folder.write_text("no folder")
        with pytest.raises(StorageUnavailable):
            await erasure.user(ALICE, "ann")
        folder.unlink()
        moved.rename(folder)
        await services.erasure().user(ALICE, "ann")
        assert (left(kept), files(kept), rows(kept, "attachment_garbage")) == ({}, [], [])
        outcomes = [act.outcome for act in await services.audit.newest(3)]
        assert [outcome.rpartition(": ")[2] for outcome in outcomes[1:]] == [
            "storage_unavailable",
            "queue_unavailable",
        ]
        assert outcomes[1].startswith("in part (")


async def test_what_a_worker_writes_of_an_erased_run_brings_nothing_back(
    kept: Settings, services: OperatorServices
) -> None:
    """One that slept through its lease, and through the erasure: there is no row left that could refuse it."""
    async with running(kept, ScriptedAnswers) as system:
        alice = await system.caller("alice", "acme")
        answer = await alice.stream(create("hi"))
        store = PostgresStore(StoreCalls(services.database))
        late = RequestContext(user_id="alice", tenant="acme", run_id=answer.run_id, attempt=1)
        thread = await store.load_thread(answer.thread_id, late)
        item = (await store.load_thread_items(answer.thread_id, None, 1, "desc", late)).data[0]
        await services.erasure().thread(answer.thread_id, "ann")
        with pytest.raises(NotFoundError):
            await store.save_thread(thread.model_copy(update={"title": "back"}), late)
        with pytest.raises(NotFoundError):
            await store.add_thread_item(answer.thread_id, item, late)
        assert left(kept) == {}


async def test_a_worker_is_told_by_the_erasure_that_is_done_again(
    kept: Settings, services: OperatorServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis failed when the run's row had been ended: nobody would stop the worker, which holds the run."""
    script = Script(deltas=6, gate=str(tmp_path / "gate"), holds=[3])

    async def away(*_: object) -> None:
        raise QueueUnavailable

    async with running(kept, ScriptedAnswers) as system:
        alice = await system.caller("alice", "acme")
        async with asking(alice, create(str(script))) as asker:
            await asker.until("the answer has begun", lambda answer: answer.text)
            with monkeypatch.context() as patched:
                patched.setattr(type(services.queue), "signal_cancel", away)
                with pytest.raises(QueueUnavailable):
                    await services.erasure().user(ALICE, "ann")
            erased = await services.erasure().user(ALICE, "ann")
            assert (erased["runs"], left(kept)) == (1, {})
            assert (await asker.finished()).end == "cancelled"


async def test_a_row_that_somebody_holds_is_counted_once_and_left_to_the_workers(
    kept: Settings, services: OperatorServices, redis: Redis
) -> None:
    """Of a thread that is in a store of the site's own."""
    async with running(kept, ScriptedAnswers) as system:
        alice = await system.caller("alice", "acme")
        answer = await alice.stream(create("hi"))

        async def is_free() -> bool:
            return not await redis.exists(keys.lease(answer.run_id))

        await wait_until("the worker has let go", is_free)
    with psycopg.connect(kept.database_url) as holder:
        holder.execute("DELETE FROM threads")
        holder.commit()
        holder.execute("SELECT id FROM runs FOR KEY SHARE")
        erased = await services.erasure().user(ALICE, "ann")
        assert (erased["runs"], left(kept)) == (1, {"runs": 1})
        assert rows(kept, "gone_runs")


async def test_a_run_that_a_worker_holds_keeps_its_row_until_it_lets_go(
    kept: Settings, services: OperatorServices, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is what refuses the worker's writes: without it a save would bring the thread back."""
    monkeypatch.setattr(erasure_module, "HELD_LEASES", 0.5)
    async with running(kept, ScriptedAnswers) as system:
        alice = await system.caller()
        answer = await alice.stream(create("hi"))

        async def is_free() -> bool:
            return not await redis.exists(keys.lease(answer.run_id))

        await wait_until("the worker has let go", is_free)
        await redis.set(keys.lease(answer.run_id), "w:1", ex=60)
        with pytest.raises(RunHeld):
            await services.erasure().thread(answer.thread_id, "ann")
        assert left(kept) == {"threads": 1, "items": 2, "runs": 1}
        await redis.delete(keys.lease(answer.run_id))
        erased = await services.erasure().thread(answer.thread_id, "ann")
        assert (erased["threads"], left(kept)) == (1, {})


async def test_what_is_exported_is_what_the_api_showed(kept: Settings, tmp_path: Path) -> None:
    """Threads one after the other, items in their order, bytes whole, runs without tokens; nobody else's."""
    file = tmp_path / "alice.jsonl"
    async with running(kept, ScriptedAnswers) as system:
        alice, bob = await system.caller("alice", "acme"), await system.caller("bob", "acme")
        threads = [await chat(alice) for _ in range(2)]
        unsent = await uploaded(alice)
        await chat(bob)
        rated = (await alice.items(threads[1]))[-1]["id"]
        with psycopg.connect(kept.database_url, autocommit=True) as connection:
            connection.execute("UPDATE items SET feedback = 'negative' WHERE id = %s", (rated,))
        await system.receipts()
        done = await command(kept, "users", "export", "alice", "--tenant", "acme", "--to", str(file))
        assert (done.status, done.output) == (0, "")
        assert done.error == "relaykit users export: 2 threads, 8 items, 3 attachments, 4 runs"
        assert file.stat().st_mode & 0o777 == 0o600
        records = [json.loads(line) for line in file.read_text().splitlines()]
        assert [record["data"]["id"] for record in records if record["type"] == "thread"] == threads
        for thread_id in threads:
            of_thread = [record for record in records if record.get("thread_id") == thread_id]
            shown = await alice.items(thread_id)
            exported = [record["data"] for record in of_thread if record["type"] == "item"]
            assert [without_links(item) for item in exported] == [without_links(item) for item in shown]
            feedback = {
                record["data"]["id"]: record["feedback"] for record in of_thread if record["type"] == "item"
            }
            assert feedback == {item["id"]: "negative" if item["id"] == rated else None for item in shown}
            runs = [record["data"] for record in of_thread if record["type"] == "run"]
            assert {run["status"] for run in runs} == {"completed"}
            assert not any("token" in run or "request_hash" in run for run in runs)
        attachments = [record for record in records if record["type"] == "attachment"]
        assert {base64.b64decode(record["bytes"]) for record in attachments} == {PNG}
        assert [record["data"]["id"] for record in attachments if record["thread_id"] is None] == [unsent]
        one = await command(kept, "threads", "export", threads[0])
        assert one.lines == records[: len(one.lines)]
        assert len(one.lines) == 1 + 4 + 1 + 2
        twice = await command(kept, "users", "export", "alice", "--tenant", "acme", "--to", str(file))
        assert (twice.status, twice.error) == (
            2,
            f"relaykit users export: bad_setting: --to {file}: it is there already",
        )
        nowhere = await command(kept, "threads", "export", threads[0], "--to", str(tmp_path / "none" / "a"))
        assert (nowhere.status, nowhere.error.split(": ")[1]) == (2, "bad_setting")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["alice.jsonl", "files"]


def without_links(value: Any) -> Any:
    """Links are signed when they are shown; the wire leaves out what has no value, and names the time zone."""
    match value:
        case dict():
            hidden = ("preview_url", "upload_descriptor", "metadata")
            return {
                name: without_links(each)
                for name, each in value.items()
                if each is not None and name not in hidden
            }
        case list():
            return [without_links(each) for each in value]
        case str():
            return value.removesuffix("Z")
    return value


async def test_a_thread_is_shown_without_what_was_written_in_it(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers) as system:
        alice = await system.caller("alice", "acme")
        answer = await alice.stream(create("only the user reads this"))
        plain = await command(settings, "threads", "show", answer.thread_id)
        shown = await command(settings, "threads", "show", answer.thread_id, "--json")
        whole = await command(settings, "threads", "show", answer.thread_id, "--content", "--json")
        assert plain.status == shown.status == whole.status == 0
        assert "only the user" not in plain.output + shown.output
        assert answer.run_id in plain.output
        assert (shown.json["tenant"], shown.json["user"], shown.json["items"]) == ("acme", "alice", 2)
        assert [run["id"] for run in shown.json["runs"]] == [answer.run_id]
        assert "only the user" in whole.output


async def test_a_store_of_the_site_s_own_keeps_its_threads_and_nothing_of_ours_stays(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    own = settings.model_copy(update={"chatkit_store": "own"})
    async with running(own, lambda: NotebookServer(str(tmp_path / "notebook.db"))) as system:
        alice = await system.caller()
        first, second = await alice.stream(create("hi")), await alice.stream(create("ho"))
        one = await command(own, "threads", "erase", first.thread_id, "--yes")
        assert (one.status, one.output) == (0, "erased: 1 runs, 1 journals\n")
        assert "the site's to show, export and erase" in one.error
        assert await journals_with_events(redis) == {keys.journal(second.run_id)}
        done = await command(own, "users", "erase", "alice", "--yes")
        assert (done.status, done.output) == (0, "erased: 1 runs, 1 journals\n")
        assert "the site's to export and erase" in done.error
        assert (left(own), await journals_with_events(redis)) == ({}, set())
        assert len(await alice.items(second.thread_id)) == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("threads", "show", "thr_none"), "thread_not_found: There is no such thread, and no run of one."),
        (("threads", "export", "thr_none"), "thread_not_found: There is no such thread, and no run of one."),
        (
            ("users", "export", "nobody", "--tenant", "acme"),
            "user_not_found: Nothing is here of user nobody of tenant acme.",
        ),
        (
            ("users", "erase", "alice", "--yes"),
            "bad_setting: users have a tenant here (JWT_TENANT_REQUIRED): --tenant names it",
        ),
    ],
)
async def test_what_is_not_there_is_one_line(
    settings: Settings, arguments: tuple[str, ...], line: str
) -> None:
    strict = settings.model_copy(update={"jwt_tenant_required": True})
    done = await command(strict, *arguments)
    assert (done.status, done.output, done.error) == (2, "", f"relaykit {' '.join(arguments[:2])}: {line}")


async def test_a_service_that_is_away_is_status_1(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    done = await command(away, "users", "erase", "alice", "--yes")
    assert (done.status, done.error.split(": ")[1]) == (1, "queue_unavailable")


async def test_a_service_that_goes_away_half_way_is_one_line(kept: Settings) -> None:
    """The rows are gone, and the bytes are still noted for the workers."""
    async with running(kept, ScriptedAnswers) as system:
        alice = await system.caller()
        await chat(alice)
        for file in files(kept):
            file.unlink()
            file.mkdir()
        erased = await command(kept, "users", "erase", "alice", "--yes")
        assert (erased.status, erased.output) == (1, "")
        assert "storage_unavailable" in erased.error
        assert erased.error.endswith("Do it again: it may be done in part.")
        assert (left(kept), len(rows(kept, "attachment_garbage"))) == ({}, 1)


async def test_what_a_failure_left_of_bytes_goes_when_the_command_is_repeated(kept: Settings) -> None:
    """Nothing of the user's is here any more, which the command says; the workers have removed nothing yet."""
    async with running(kept, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        await uploaded(alice)
        [file] = files(kept)
        content = file.read_bytes()
        file.unlink()
        file.mkdir()
        assert (await command(kept, "users", "erase", "alice", "--yes")).status == 1
        file.rmdir()
        file.write_bytes(content)
        again = await command(kept, "users", "erase", "alice", "--yes")
        assert (again.status, again.error.split(": ")[1]) == (2, "user_not_found")
        assert (files(kept), rows(kept, "attachment_garbage")) == ([], [])


async def test_an_object_that_cannot_be_removed_costs_itself_alone(kept: Settings) -> None:
    """Of one user, first of all and for ever: whoever is erased after that is told of it, and is erased."""
    async with running(kept, ScriptedAnswers, workers=0) as system:
        alice, bob = await system.caller("alice"), await system.caller("bob")
        await uploaded(alice)
        [stuck] = files(kept)
        for _ in range(3):
            await uploaded(alice)
        await uploaded(bob)
        stuck.unlink()
        stuck.mkdir()
        first = await command(kept, "users", "erase", "alice", "--yes")
        assert (first.status, first.error.split(": ", 1)[1]) == (
            1,
            "storage_unavailable: 1 objects of attachments were not removed: a worker tries again. Do it again: it may "
            "be done in part.",
        )
        assert (left(kept), len(files(kept))) == ({}, 1), "bob's is left"
        left_before = (
            "1 objects of attachments that were deleted before could not be removed: a worker tries again"
        )
        second = await command(kept, "users", "erase", "bob", "--yes")
        assert (second.status, second.error) == (0, f"relaykit users erase: {left_before}")
        assert second.output == f"erased: 1 attachments, {len(PNG)} bytes\n"
        assert (left(kept, "bob"), files(kept)) == ({}, [])
        nothing = await command(kept, "users", "erase", "bob", "--yes")
        assert (nothing.status, nothing.errors.splitlines()[0]) == (2, f"relaykit users erase: {left_before}")
        assert "user_not_found" in nothing.errors
        assert [garbage[0] for garbage in rows(kept, "attachment_garbage")] == [stuck.name]


async def test_an_object_store_that_refuses_one_key_keeps_nothing_else(
    kept: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the workers too: they log it once with a count, put it off, and go on with the rest."""
    for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "x")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    async with s3_server() as s3:
        monkeypatch.setenv("AWS_ENDPOINT", s3.url)
        settings = kept.model_copy(update={"attachments_url": "s3://bucket"})
        async with (
            running(settings, ScriptedAnswers, workers=0) as system,
            opened_services(settings) as opened,
        ):
            alice = await system.caller("alice", "acme")
            for _ in range(5):
                await uploaded(alice)
            s3.kept = set(list(s3.objects)[1:3])
            with pytest.raises(StorageUnavailable, match="2 objects"):
                await opened.erasure().user(ALICE, "ann")
            assert set(s3.objects) == s3.kept
            objects, failed = opened.erasure().objects, "relaykit_removals_failed_total"
            assert objects is not None
            before = REGISTRY.get_sample_value(failed, {"of": "object"}) or 0.0
            with structlog.testing.capture_logs() as logs:
                assert await objects.sweep(100) == 0
                assert await objects.sweep(100) == 0, "they are put off"
            assert [(line["action"], line["count"]) for line in logs] == [("objects_left", 2)]
            assert REGISTRY.get_sample_value(failed, {"of": "object"}) == before + 2
            s3.kept = set()
            with psycopg.connect(settings.database_url, autocommit=True) as connection:
                connection.execute("UPDATE attachment_garbage SET due_at = now()")
            assert (await objects.sweep(100), s3.objects) == (2, {})


async def test_a_journal_that_cannot_be_erased_keeps_nothing_else(
    kept: Settings, services: OperatorServices, redis: Redis
) -> None:
    """Of the first of a user's threads, whose only run it is: the others go, and so do their journals and bytes."""
    async with running(kept, ScriptedAnswers) as system:
        alice = await system.caller("alice", "acme")
        answers = [await alice.stream(create("hi", attachments=[await uploaded(alice)])) for _ in range(3)]

        async def is_free() -> bool:
            return not [key async for key in redis.scan_iter(match=f"{keys.LEASE_PREFIX}*")]

        await wait_until("the worker has let go", is_free)
    stuck = answers[0].run_id
    async with refused(redis, kept.redis_url, stuck) as narrow:
        erasure = services.erasure()
        erasure.gone_runs._journals._redis = narrow
        with pytest.raises(QueueUnavailable, match="1 journals"):
            await erasure.user(ALICE, "ann")
    assert (left(kept), files(kept)) == ({}, [])
    assert await journals_with_events(redis) == {keys.journal(stuck)}
    assert [row[0] for row in rows(kept, "gone_runs")] == [stuck]


async def test_journals_that_cannot_be_erased_keep_an_erasure_from_none_behind_them(
    kept: Settings, services: OperatorServices, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that earlier erasures have left, a page of which is refused. No worker is there that would put them off."""
    async with running(kept, ScriptedAnswers) as system:
        alice = await system.caller("alice", "acme")
        run_ids = [(await alice.stream(create("hi"))).run_id for _ in range(2)]

        async def is_free() -> bool:
            return not [key async for key in redis.scan_iter(match=f"{keys.LEASE_PREFIX}*")]

        await wait_until("the worker has let go", is_free)
    with psycopg.connect(kept.database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM threads")
        connection.execute("UPDATE runs SET ended_at = ended_at - interval '1 hour'")
        for hours, run_id in enumerate(reversed(run_ids), start=1):
            connection.execute(
                "INSERT INTO gone_runs VALUES (%s, now() - %s * interval '1 hour')", [run_id, hours]
            )
    monkeypatch.setattr(erasure_module, "ERASED_AT_ONCE", 1)
    async with refused(redis, kept.redis_url, run_ids[0]) as narrow:
        erasure = services.erasure()
        erasure.gone_runs._journals._redis = narrow
        await erasure.sweep()
    assert await journals_with_events(redis) == {keys.journal(run_ids[0])}
    assert [row[0] for row in rows(kept, "gone_runs")] == [run_ids[0]]


async def test_an_object_store_that_refuses_all_at_once_is_asked_for_each(
    kept: Settings, services: OperatorServices
) -> None:
    """What it refuses says nothing of the others."""
    async with running(kept, ScriptedAnswers, workers=0) as system:
        alice = await system.caller("alice", "acme")
        for _ in range(6):
            await uploaded(alice)
    folder = Path(str(kept.attachments_url).removeprefix("file://"))
    erasure = services.erasure()
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("no folder")
    with structlog.testing.capture_logs() as logs, pytest.raises(StorageUnavailable, match="6 objects"):
        await erasure.user(ALICE, "ann")
    assert [(line["action"], line["count"]) for line in logs] == [("objects_left", 6)]
    assert len(rows(kept, "attachment_garbage")) == 6


CRASHES = [
    "relaykit.shared.operating.erasure:Erasure._let_go",
    "relaykit.shared.operating.erasure:Erasure._tell",
    "relaykit.shared.operating.erasure:Erasure._erase_journals",
    "relaykit.shared.operating.erasure:Erasure._runs",
    "relaykit.shared.operating.erasure:Erasure._remove_bytes",
]


@pytest.mark.parametrize("method", CRASHES)
@pytest.mark.parametrize("nth", [1, 2])
async def test_an_erasure_that_is_killed_is_done_by_the_next(
    kept: Settings, redis: Redis, method: str, nth: int
) -> None:
    """By kill -9 before one of its steps. No worker is there that would do it."""
    async with running(kept, ScriptedAnswers) as system:
        alice = await system.caller("alice", "acme")
        threads = [await chat(alice) for _ in range(2)]
        await uploaded(alice)

        async def is_free() -> bool:
            return not [key async for key in redis.scan_iter(match=f"{keys.LEASE_PREFIX}*")]

        await wait_until("the worker has let go", is_free)
    async with running(kept, ScriptedAnswers, workers=0) as system:
        alice = await system.caller("alice", "acme")
        async with alice.open_stream(message(threads[0], "one that goes on")) as response:
            assert response.status_code == 200
        async with alice.open_stream(message(threads[1], "another")) as response:
            assert response.status_code == 200
        killed = await killed_command(kept, method, nth)
        if (method.rpartition(".")[2], nth) in (("_runs", 2), ("_remove_bytes", 2)):
            assert killed == 0, "it is called once"
            return
        assert killed == -signal.SIGKILL
        with psycopg.connect(kept.database_url, autocommit=True) as connection:  # clients have read the end
            connection.execute("UPDATE gone_runs SET deleted_at = deleted_at - interval '1 hour'")
            connection.execute("UPDATE runs SET ended_at = ended_at - interval '1 hour'")
        again = await command(kept, "users", "erase", "alice", "--tenant", "acme", "--yes")
        assert again.status == (2 if method.endswith("_remove_bytes") else 0), again.errors
        assert (left(kept), files(kept), rows(kept, "attachment_garbage")) == ({}, [], [])
        assert (rows(kept, "gone_runs"), await journals_with_events(redis)) == ([], set())
        assert rows(kept, "operator_acts")[0][5] is None, "what the first has done is not known"


async def killed_command(settings: Settings, method: str, nth: int) -> int:
    """`users erase`, which dies before the nth call of the method; its status."""
    arguments = ("users", "erase", "alice", "--tenant", "acme", "--yes")
    dies = partial(arm, CrashPoint(method, nth=nth))
    call = partial(run_command, arguments, environment(settings), prepare=dies, timeout=START_SECONDS)
    return (await asyncio.to_thread(call)).status
