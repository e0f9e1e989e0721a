"""What an operator lists, shows and does: each command as a process, on a real system."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from relaykit.shared.queue.worker_registry import WorkerRegistry, WorkerState
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.support.clients.stream_clients import asking
from tests.support.processes.commands import answered, command
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.servers.user_servers import NotebookServer
from tests.support.system import Caller, _working, create, free_port, keyed, message, running, wait_until

SECRET = "nobody-but-the-user-reads-this"


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, connections=2) as client:
        yield client


def rows(settings: Settings, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        return connection.execute(statement, parameters).fetchall()  # type: ignore[call-overload]


def status_of(settings: Settings, run_id: str) -> str:
    [(status,)] = rows(settings, "SELECT status FROM runs WHERE id = %s", run_id)
    return str(status)


def acts(settings: Settings) -> list[tuple[Any, ...]]:
    """What is noted of each: by whom, what, of what, and what it did."""
    return rows(settings, "SELECT actor, act, target, outcome FROM operator_acts ORDER BY id")


async def posted(caller: Caller, request: dict[str, Any], key: str) -> str:
    """The id of the run that the request made; nobody follows it."""
    async with caller.open_stream(request, keyed(key)) as response:
        assert response.status_code == 200
        return str(response.headers["x-run-id"])


async def test_runs_are_listed_by_what_is_known_of_them(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        alice, bob = await system.caller("alice", "acme"), await system.caller("bob", "globex")
        first = await posted(alice, create(SECRET), "1")
        second = await posted(bob, create(SECRET), "2")
        third = await posted(alice, create(SECRET), "3")
        [(thread_id,)] = rows(settings, "SELECT thread_id FROM runs WHERE id = %s", first)
        failed = "UPDATE runs SET status = 'failed', error = 'timeout', ended_at = now() WHERE id = %s"
        with psycopg.connect(settings.database_url, autocommit=True) as connection:
            connection.execute(failed, [second])
            connection.execute(
                "UPDATE runs SET queued_at = now() - interval '2 hours' WHERE id = %s", [first]
            )

        async def listed(*filters: str) -> list[str]:
            done = await command(settings, "runs", "list", "--json", *filters)
            assert (done.status, done.errors) == (0, "")
            assert SECRET not in done.output
            return [run["id"] for run in done.lines]

        assert await asyncio.gather(
            listed(),
            listed("--limit", "1"),
            listed("--status", "queued"),
            listed("--status", "failed", "--status", "completed"),
            listed("--since", "1h"),
            listed("--older-than", "1h"),
            listed("--tenant", "acme"),
        ) == [
            [third, second, first],
            [third],
            [third, first],
            [second],
            [third, second],
            [first],
            [third, first],
        ]
        assert await asyncio.gather(
            listed("--user", "bob"),
            listed("--user", "bob", "--tenant", "acme"),
            listed("--thread", thread_id),
            listed("--error", "timeout"),
            listed("--error", "internal"),
        ) == [[second], [], [first], [second], []]
        table = (await command(settings, "runs", "list")).output.splitlines()
        assert table[0].split()[:2] == ["RUN", "STATUS"]
        assert [line.split()[0] for line in table[1:]] == [third, second, first]
        assert "globex" in table[2]


async def test_a_run_is_shown_with_its_worker_and_no_content_unless_asked(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    script = create(str(Script(gate=str(tmp_path), holds=[1])))
    async with running(settings, ScriptedAnswers) as system:
        alice = await system.caller("alice", "acme")
        async with asking(alice, script) as asker:
            await asker.until("the answer has begun", lambda answer: answer.text)
            [worker] = await WorkerRegistry(redis).workers()
            listed, shown, whole = await asyncio.gather(
                command(settings, "runs", "list", "--json"),
                command(settings, "runs", "show", asker.run_id),
                command(settings, "runs", "show", asker.run_id, "--content", "--json"),
            )
            [run] = listed.lines
            assert run["worker"] == {"worker_id": worker.id, "is_held": True}
            assert re.search(rf"^worker: +{worker.id} on ", shown.output, re.MULTILINE)
            assert "hold_attempts" not in shown.output + listed.output
            assert whole.json["status"] == "running"
            assert whole.json["worker"]["pid"] == worker.pid
            assert whole.json["content"]["context"]["claims"]["sub"] == "alice"
            assert "hold_attempts" in whole.output
            events, with_content, rest = await asyncio.gather(
                command(settings, "runs", "events", asker.run_id, "--json"),
                command(settings, "runs", "events", asker.run_id, "--content"),
                command(settings, "runs", "events", asker.run_id, "--after", "0-1", "--limit", "1", "--json"),
            )
            kinds = [event["kind"] for event in events.lines]
            assert kinds[:2] == ["thread.created", "thread.item.done"]
            assert "attempt" in kinds
            assert "hold_attempts" not in events.output
            assert "hold_attempts" in with_content.output
            assert [event["cursor"] for event in rest.lines] == ["0-2"]
            open_gate(tmp_path, 1)
            assert (await asker.finished()).end == "completed"


async def test_queue_workers_and_status_show_the_whole_deployment(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        alice, bob = await system.caller("alice", "acme"), await system.caller("bob", "globex")
        for number in range(2):
            await posted(alice, create("hello"), str(number))
        await posted(bob, create("hello"), "bob")
        queue, workers, status = await asyncio.gather(
            command(settings, "queue", "--json"),
            command(settings, "workers", "list"),
            command(settings, "status"),
        )
        assert queue.json["due"] == 3
        assert [(each["tenant"], each["user"], each["queued"]) for each in queue.json["callers"]] == [
            ("acme", "alice", 2),
            ("globex", "bob", 1),
        ]
        assert workers.output.split("\n")[1:] == [""]
        assert "0 that take runs" in status.output
        assert status.status == 0
        async with _working(create_worker(settings, ScriptedAnswers())):

            async def seen() -> bool:
                found = (await command(settings, "status", "--json")).json
                ended = {(each["status"], each["error"]): each["count"] for each in found["ended_last_hour"]}
                return len(found["workers"]) == 1 and ended == {("completed", None): 3}

            await wait_until("the worker and the three ends are shown", seen)
            [worker] = (await command(settings, "workers", "list", "--json")).lines
            assert worker["slots"] == settings.max_runs


async def test_a_run_that_has_not_begun_is_cancelled_without_the_site(settings: Settings) -> None:
    """No server can be loaded, and no worker is there: its client is told all the same, and what waits is queued."""
    async with running(settings, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        async with asking(alice, create("hello")) as asker:
            await asker.until("it is accepted", lambda answer: answer.of_type("thread.created"))
            waiting = await posted(alice, message(asker.answer.thread_id, "again"), "2")
            done = await command(
                settings,
                "runs",
                "cancel",
                asker.run_id,
                "--yes",
                "--by",
                "ann",
                CHATKIT_SERVER="nothing.here:Server",
            )
            assert (done.status, done.output) == (0, f"{asker.run_id}: cancelled\n")
            assert (await asker.finished()).end == "cancelled"
        assert acts(settings) == [("ann", "cancel", asker.run_id, "cancelled")]
        shown = (await command(settings, "runs", "show", asker.run_id)).output
        assert "cancel by ann: cancelled" in shown
        again = await command(settings, "runs", "cancel", asker.run_id, "--yes")
        assert again.status == 2
        assert "act_refused: The run has ended: cancelled." in again.error
        async with _working(create_worker(settings, ScriptedAnswers())):
            await wait_until("what waited is answered", lambda: status_of(settings, waiting) == "completed")


async def test_a_running_run_is_stopped_by_its_worker(settings: Settings, tmp_path: Path) -> None:
    async with running(settings, ScriptedAnswers) as system:
        alice = await system.caller()
        async with asking(alice, create(str(Script(gate=str(tmp_path), holds=[2])))) as asker:
            await asker.until("the answer has begun", lambda answer: answer.text)
            done = await command(settings, "runs", "cancel", asker.run_id, "--yes")
            assert done.output == f"{asker.run_id}: stop requested\n"
            assert (await asker.finished()).end == "cancelled"
        [(actor, act, target, outcome)] = acts(settings)
        assert re.fullmatch(r"\S+@\S+", actor)
        assert (act, target, outcome) == ("cancel", asker.run_id, "stop requested")


async def test_a_failed_run_is_made_again_once_for_the_same_user(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers) as system:
        alice = await system.caller("alice", "acme")
        answer = await alice.stream(create("hello"))
        first, second = await asyncio.gather(
            command(settings, "runs", "retry", answer.run_id, "--yes"),
            command(settings, "runs", "retry", answer.run_id, "--yes"),
        )
        assert (first.status, second.status) == (0, 0), first.errors + second.errors
        [(made,)] = rows(settings, "SELECT id FROM runs WHERE id <> %s", answer.run_id)
        outcomes = sorted(done.output for done in (first, second))
        assert outcomes == [
            f"{answer.run_id}: run {made}\n",
            f"{answer.run_id}: run {made} answers it already\n",
        ]
        assert (await alice.resume(made, None)).end == "completed"
        items = await alice.items(answer.thread_id)
        assert [item["type"] for item in items] == ["user_message", "assistant_message"]
        assert {act[1:3] for act in acts(settings)} == {("retry", answer.run_id)}
        # the thread has gone on: what came after would be lost
        assert (await alice.stream(message(answer.thread_id, "and then?"))).end == "completed"
        refused = await command(settings, "runs", "retry", made, "--yes")
        assert refused.status == 2
        assert "item_mismatch" in refused.error
        assert [item["type"] for item in await alice.items(answer.thread_id)] == 2 * [
            "user_message",
            "assistant_message",
        ]
        assert acts(settings)[-1][1:] == ("retry", made, "not done: item_mismatch")


async def test_a_run_in_a_store_of_the_site_s_own_is_made_again(settings: Settings, tmp_path: Path) -> None:
    """The site's store is asked for the message, and deletes the answer. Once, however often it is asked for."""
    own = settings.model_copy(update={"chatkit_store": "own"})
    notebook = str(tmp_path / "notebook.db")
    site = {"NOTEBOOK": notebook, "CHATKIT_SERVER": f"{NotebookServer.__module__}:{NotebookServer.__name__}"}
    async with running(own, lambda: NotebookServer(notebook)) as system:
        alice = await system.caller("alice", "acme")
        answer = await alice.stream(create("hello"))
        before = await alice.items(answer.thread_id)
        done = await command(own, "runs", "retry", answer.run_id, "--yes", "--by", "ann", **site)
        assert (done.status, done.errors) == (0, "")
        [(made,)] = rows(own, "SELECT id FROM runs WHERE id <> %s", answer.run_id)
        assert done.output == f"{answer.run_id}: run {made}\n"
        assert (await alice.resume(made, None)).end == "completed"
        after = await alice.items(answer.thread_id)
        assert [item["type"] for item in after] == ["user_message", "assistant_message"]
        assert after[0] == before[0]
        assert after[1]["id"] != before[1]["id"]
        again = await command(own, "runs", "retry", answer.run_id, "--yes", **site)
        assert again.output == f"{answer.run_id}: run {made} answers it already\n"
        assert acts(own)[0] == ("ann", "retry", answer.run_id, f"run {made}")
        await alice.ask({"type": "threads.delete", "params": {"thread_id": answer.thread_id}})
        gone = await command(own, "runs", "retry", made, "--yes", **site)
        assert (gone.status, gone.output, gone.errors.count("\n")) == (2, "", 1)


async def test_what_answers_no_message_is_not_retried(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        run_id = await posted(await system.caller(), create("hello"), "1")
        running_one = await command(settings, "runs", "retry", run_id, "--yes")
        assert (running_one.status, "has not ended" in running_one.error) == (2, True)
        with psycopg.connect(settings.database_url, autocommit=True) as connection:
            connection.execute("UPDATE runs SET status = 'failed', kind = 'threads.custom_action'")
        action = await command(settings, "runs", "retry", run_id, "--yes")
        assert (action.status, "answers no message" in action.error) == (2, True)
        unloadable = await command(settings, "runs", "retry", run_id, CHATKIT_SERVER="nothing.here:Server")
        assert (unloadable.status, "server_not_loadable" in unloadable.error) == (2, True)
        assert acts(settings) == []


async def test_a_worker_drains_and_the_others_do_not(settings: Settings, redis: Redis) -> None:
    stays, goes = create_worker(settings, ScriptedAnswers()), create_worker(settings, ScriptedAnswers())
    registry = WorkerRegistry(redis)
    async with running(settings, ScriptedAnswers, workers=0), _working(stays):
        await wait_until("one is there", registry.workers)
        [first] = await registry.workers()
        working = asyncio.create_task(goes.run())

        async def both() -> bool:
            return len(await registry.workers()) == 2

        await wait_until("both are there", both)
        [second] = [worker for worker in await registry.workers() if worker.id != first.id]
        done = await command(settings, "workers", "drain", second.id, "--yes", "--by", "ann")
        assert (done.status, done.output) == (0, f"{second.id}: draining\n")
        await working
        assert not stays.draining.asked.is_set()
        assert [worker.id for worker in await registry.workers()] == [first.id]
        assert acts(settings) == [("ann", "drain", second.id, "draining")]


MISTAKES = [
    (("runs", "show", "run_none"), "run_not_found"),
    (("runs", "events", "run_none"), "run_not_found"),
    (("runs", "events", "run_none", "--after", "x"), "invalid_cursor"),
    (("runs", "cancel", "run_none", "--yes"), "There is no run run_none"),
    (("runs", "retry", "run_none", "--yes"), "There is no run run_none"),
    (("runs", "requeue", "run_none"), "There is no run run_none"),
    (("workers", "drain", "nobody", "--yes"), "worker_not_found"),
    (("runs", "list", "--status", "dead"), "invalid choice: 'dead'"),
    (("runs", "list", "--error", "timeout", "--status", "queued"), "invalid_filter"),
    (("runs", "list", "--since", "1h", "--older-than", "2h"), "invalid_filter"),
    (("runs", "list", "--since", "yesterday"), "is no age"),
    (("runs", "list", "--limit", "0"), "is no number"),
    (("runs", "list", "--user", ""), "is empty"),
    (("runs", "list", "--tennant", "acme"), "unrecognized arguments"),
    (("runs",), "subcommand"),
    (("runs", "delete"), "invalid choice: 'delete'"),
    (("workers", "drain"), "required: WORKER"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=lambda value: " ".join(value))
async def test_a_mistake_is_one_line_and_status_2(
    settings: Settings, arguments: tuple[str, ...], said: str
) -> None:
    done = await command(settings, *arguments)
    assert (done.status, done.output) == (2, "")
    assert said in done.error
    assert done.error.startswith("relaykit ")
    assert acts(settings) == []


async def test_of_several_runs_none_is_touched_where_one_is_not_there(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        run_id = await posted(await system.caller(), create("hello"), "1")
        done = await command(settings, "runs", "cancel", run_id, "run_none", "--yes")
        assert (done.status, status_of(settings, run_id)) == (2, "queued")
        assert acts(settings) == []


async def test_what_cannot_be_undone_asks_first(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        run_id = await posted(await system.caller(), create("hello"), "1")
        unasked = await command(settings, "runs", "cancel", run_id)
        assert (unasked.status, "--yes" in unasked.error) == (2, True)
        declined = await answered(settings, "", "runs", "cancel", run_id)
        assert declined.status == 2
        assert f"Cancel: {run_id} (queued, of alice)? [y/N]" in declined.errors
        assert status_of(settings, run_id) == "queued"
        assert acts(settings) == []
        agreed = await answered(settings, "y", "runs", "cancel", run_id)
        assert agreed.status == 0
        assert status_of(settings, run_id) == "cancelled"


async def test_a_service_that_is_away_is_status_1_and_the_rest_is_shown(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        run_id = await posted(await system.caller(), create("hello"), "1")
    no_redis = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    no_database = {"DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/x"}
    listed, shown, cancelled, status, workers, both = await asyncio.gather(
        command(settings, "runs", "list", **no_redis),
        command(settings, "runs", "show", run_id, **no_redis),
        command(settings, "runs", "cancel", run_id, "--yes", **no_redis),
        command(settings, "status", "--json", **no_redis),
        command(settings, "workers", "list", **no_database),
        command(settings, "status", **no_redis, **no_database),
    )
    assert (listed.status, run_id in listed.output, "queue_unavailable" in listed.error) == (1, True, True)
    assert (shown.status, run_id in shown.output, "queue_unavailable" in shown.error) == (1, True, True)
    assert (cancelled.status, "queue_unavailable" in cancelled.error) == (1, True)
    assert status_of(settings, run_id) == "queued"
    assert (status.status, status.json["postgresql"]) == (1, "ok")
    assert status.json["redis"].startswith("queue_unavailable")
    assert (workers.status, workers.output.startswith("WORKER")) == (0, True)
    assert (both.status, "database_unavailable" in both.output) == (1, True)


async def test_status_tells_a_postgresql_that_takes_no_writes_and_the_rest(settings: Settings) -> None:
    """What is read goes on."""
    name = settings.database_url.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")  # type: ignore[arg-type]
    status, text, listed = await asyncio.gather(
        command(settings, "status", "--json"), command(settings, "status"), command(settings, "runs", "list")
    )
    assert (status.status, text.status, listed.status) == (1, 1, 0)
    assert "25006" in status.json["postgresql"]
    assert (status.json["redis"], status.json["database"]["read_only"]) == ("ok", True)
    assert status.json["queue"]["due"] == 0
    assert "takes no writes" in text.output


async def test_status_tells_the_sessions_that_wait_for_a_lock_and_this_host_s_clock(
    settings: Settings,
) -> None:
    async def waits() -> bool:
        [(count,)] = rows(settings, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return count > 0

    with psycopg.connect(settings.database_url) as holding:
        holding.execute("LOCK TABLE threads IN ACCESS EXCLUSIVE MODE")
        waiting = asyncio.create_task(asyncio.to_thread(rows, settings, "SELECT count(*) FROM threads"))
        await wait_until("a session waits for the lock", waits)
        status = await command(settings, "status", "--json")  # not both at once: each has sessions of its own
        text = await command(settings, "status")
    await waiting
    database = status.json["database"]
    assert (database["wait_for_locks"], database["idle_in_transaction"]) == (1, 1)
    assert database["oldest_transaction_seconds"] > 0
    assert database["max_connections"] >= database["sessions"] >= 2
    assert "1 wait for locks, 1 idle in a transaction, the oldest transaction for" in text.output
    assert set(status.json["clock"]) == {"redis", "postgresql"}
    assert re.search(r"^clock: +that of redis, that of postgresql$", text.output, re.MULTILINE)


async def test_status_tells_what_it_can_while_the_runs_are_locked(settings: Settings) -> None:
    """It waits for the lock itself, and says so of the rest."""
    with psycopg.connect(settings.database_url) as holding:
        holding.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
        done = await command(settings, "status", "--json", DATABASE_TIMEOUT_SECONDS="3")
    assert (done.status, done.json["postgresql"], done.json["redis"]) == (1, "ok", "ok")
    assert done.json["database"]["idle_in_transaction"] == 1
    assert done.json["database"]["oldest_transaction_seconds"] > 0
    assert "queue" not in done.json
    assert done.error.startswith("relaykit status: database_unavailable")


async def test_status_tells_what_it_can_where_redis_answers_and_refuses_a_part(
    settings: Settings, redis: Redis
) -> None:
    await redis.set(keys.WORKERS_SEEN, "not what Relaykit writes there", ex=600)
    text, done = await asyncio.gather(command(settings, "status"), command(settings, "status", "--json"))
    assert (done.status, done.json["postgresql"], done.json["redis"]) == (1, "ok", "ok")
    assert (done.json["ended_last_hour"], done.json["acts"]) == ([], [])
    assert "workers" not in done.json
    for each in (text, done):
        assert each.error.startswith("relaykit status: queue_unavailable"), each.error
    assert "ENDED LAST HOUR" in text.output


async def test_workers_that_have_become_silent_are_listed_after_those_that_are_there(
    settings: Settings, redis: Redis
) -> None:
    registry = WorkerRegistry(redis)
    states = [
        WorkerState(each, "h", 1, "0", 1, 0, 1.0, False, 0.0, clock_offset_seconds=-7.5)
        for each in ("killed", "lives")
    ]
    await registry.register(states[0], 0.1)
    await registry.register(states[1], 600)
    await wait_until("it is silent", registry.silent)
    listed, text, status = await asyncio.gather(
        command(settings, "workers", "list", "--json"),
        command(settings, "workers", "list"),
        command(settings, "status", "--json"),
    )
    lives, killed = listed.lines
    assert (lives["id"], lives["silent_seconds"], lives["clock_offset_seconds"]) == ("lives", None, -7.5)
    assert killed["id"] == "killed"
    assert killed["silent_seconds"] > 0
    assert re.search(r"^lives +takes runs .* -7\.5s$", text.output, re.MULTILINE)
    assert re.search(r"^killed +silent for ", text.output, re.MULTILINE)
    assert [each["id"] for each in status.json["workers"]] == ["lives"]
    assert [each["state"]["id"] for each in status.json["silent_workers"]] == ["killed"]


async def test_a_setting_that_is_wrong_is_one_line(settings: Settings) -> None:
    done = await command(settings, "status", LEASE_SECONDS="soon")
    assert (done.status, done.output) == (2, "")
    assert "bad_setting" in done.error


async def test_site_code_that_raises_at_a_retry_is_one_line_without_its_text(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers) as system:
        answer = await (await system.caller()).stream(create("hello"))
        failing = f"{RaisingStreamOptions.__module__}:{RaisingStreamOptions.__name__}"
        done = await command(settings, "runs", "retry", answer.run_id, "--yes", CHATKIT_SERVER=failing)
        assert (done.status, done.output) == (1, "")
        assert re.search(
            r"retry_failed: The site's code raised LookupError at \S*test_operator_commands", done.error
        )
        assert SECRET not in done.error
        assert acts(settings)[-1][1:] == ("retry", answer.run_id, "not done: retry_failed")
        assert rows(settings, "SELECT count(*) FROM runs") == [(1,)]


class RaisingStreamOptions(ScriptedAnswers):
    def get_stream_options(self, thread: Any, context: Any) -> Any:
        raise LookupError(SECRET)
