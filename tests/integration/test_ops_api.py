"""The console's API on a real system: who may use it, what it shows, and what is noted of an act."""

from __future__ import annotations

import asyncio
import http.client
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import jwt
import psycopg
import pytest
import pytest_asyncio
from chatkit.types import StreamOptions, ThreadMetadata
from fastapi import FastAPI, HTTPException

from relaykit.api.http.errors import install_error_handlers
from relaykit.api.ops import console as console_module
from relaykit.api.ops.console import Console
from relaykit.api.ops.wiring import opened_console
from relaykit.api.routes.ops_page import ops_page_router
from relaykit.operator_commands.services import few_connections
from relaykit.shared.clocks import Clocks
from relaykit.shared.errors import Overloaded
from relaykit.shared.journal import Cursor
from relaykit.shared.journal.times import JournalTimes
from relaykit.shared.operating.database_figures import DatabaseFigures
from relaykit.shared.operating.run_lists import RunFilter, RunLists
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.shared.redis.keys import QUEUE, entry_times, journal
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.integration.http_app import serving
from tests.support.clients.stream_clients import asking
from tests.support.network.links import Link
from tests.support.processes.commands import command
from tests.support.repository.error_catalogue import assert_documented_error
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import WAIT_SECONDS, System, create, running, wait_until

SECRET = "s" * 32
OPERATOR = {"ops": True}
READER = {"ops": True, "role": "reader"}
WRITTEN = "nobody-but-the-user-reads-this"
READS = ("caller", "overview", "queue", "workers", "runs", "runs/run_x", "runs/run_x/events")
ACTS = ("runs/run_x/cancel", "runs/run_x/requeue", "runs/run_x/retry", "workers/w/drain")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


MEANINGLESS = [
    ("statsu=failed", "statsu"),
    ("status=paused", "status"),
    ("status=failed&status=nonsense", "status"),
    ("since=5", "since"),
    ("since=-5m", "since"),
    ("since=99999999d", "since"),
    ("older_than=soon", "older_than"),
    ("since=1h&older_than=2h", "young"),
    ("error=timeout&status=queued", "error"),
    ("limit=0", "limit"),
    ("limit=201", "limit"),
    ("limit=1.5", "limit"),
    ("limit=%D9%A3", "limit"),
    ("before=x", "before"),
    ("before=1", "before"),
    ("before=-1.run_x", "before"),
    ("before=99999999999999999999.run_x", "before"),
    ("before=1.run%00", "before"),
    ("tenant=a&tenant=b", "tenant"),
    ("user=%00", "user"),
    ("run=%00", "run"),
]
"""Queries, and a word of what is said of each."""

DISGUISED = (
    "/%6fps", "/%6fps/api/runs", "/op%73", "/op%73/", "/%2fops", "/ops%2Fapi%2Fruns", "/ops%2f", "/%6Fps/ops.js",
    "/metric%73", "/%6d%65%74%72%69%63%73", "/%256fps", "//ops", "/./ops", "/x/../ops", "/./metrics", "/%2e/ops",
    "//metrics", "/ops;x", "/OPS", "/ops/../metrics", "/ops/./api/runs", "/ops//api/runs", "/%00ops",
)  # fmt: skip
"""Paths that something in front may take for others than the API does."""


@pytest.fixture
def ops(settings: Settings) -> Settings:
    changes = {
        "jwks_url": None,
        "jwt_secret": SECRET,
        "ops_claim": "ops",
        "ops_content_claim": "role=reader",
    }
    return settings.model_copy(update=changes)


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, connections=1) as client:
        yield client


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine makes Redis no slower than this."""
    monkeypatch.setattr(console_module, "REDIS_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(console_module, "WAIT_SECONDS", WAIT_SECONDS)


def token(settings: Settings, **claims: Any) -> str:
    known = {
        "sub": "olga",
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "exp": int(time.time()) + 3600,
        **claims,
    }
    return jwt.encode(known, SECRET, "HS256")


@asynccontextmanager
async def client_of(system: System, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Without a token."""
    async with httpx2.AsyncClient(base_url=system.urls[0], headers=headers, timeout=120) as client:
        yield client


@asynccontextmanager
async def console(system: System, **claims: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A caller with these claims."""
    signed = token(system.settings, **claims)
    async with client_of(system, Authorization=f"Bearer {signed}") as client:
        yield client


async def got(client: httpx2.AsyncClient, path: str, **query: Any) -> Any:
    response = await client.get(f"/ops/api/{path}", params=query)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    return response.json()


async def done(client: httpx2.AsyncClient, path: str, **more: Any) -> Any:
    response = await client.post(f"/ops/api/{path}", **more)
    assert response.status_code == 200, response.text
    return response.json()


def refused(response: httpx2.Response, status: int, code: str) -> str:
    """Its message. No cache keeps it."""
    assert_documented_error(response, status)
    assert response.headers["cache-control"] == "no-store"
    error = response.json()["error"]
    assert error["code"] == code
    return str(error["message"])


def execute(settings: Settings, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def noted(settings: Settings) -> list[tuple[Any, ...]]:
    return execute(settings, "SELECT actor, act, target, outcome FROM operator_acts ORDER BY id")


def insert_runs(settings: Settings, *runs: dict[str, Any]) -> None:
    """Rows of runs that have ended."""
    for number, run in enumerate(runs):
        row = {
            "id": f"run_{number}",
            "tenant": "",
            "owner": "alice",
            "thread_id": f"thr_{number}",
            "status": "completed",
            "error": None,
            "queued_at": NOON,
            **run,
        }
        execute(
            settings,
            """INSERT INTO runs (id, tenant, owner, thread_id, kind, input, context, status, attempt, error,
                    queued_at, ended_at)
               VALUES (%s, %s, %s, %s, 'threads.create', '{"item_id": "msg_x"}', '{"claims": {}}', %s, 1, %s, %s, now())
            """,
            *(row[name] for name in ("id", "tenant", "owner", "thread_id", "status", "error", "queued_at")),
        )


# --- who may


async def test_without_the_setting_there_is_no_console(ops: Settings) -> None:
    """For whoever has the claim, too; and local mode's issuer signs no such token."""
    off = ops.model_copy(update={"ops_claim": None, "ops_content_claim": None})
    async with running(off, ScriptedAnswers, workers=0) as system, console(system, **READER) as client:
        for path in ("/ops", "/ops/", "/ops/options.json", *(f"/ops/api/{path}" for path in READS)):
            response = await client.get(path)
            assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found"), path
        for path in ACTS:
            assert (await client.post(f"/ops/api/{path}")).status_code == 404
        assert "/ops" not in (await client.get("/openapi.json")).text
        issued = await client.post("/dev/token", json={"sub": "o", "operator": True})
        assert "ops" not in jwt.decode(issued.json()["access_token"], options={"verify_signature": False})


async def test_an_encoded_letter_is_no_way_around_a_proxy(ops: Settings) -> None:
    """A proxy that keeps `/ops` and `/metrics` from the public may compare the bytes that were sent."""
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **READER) as client:
        for path in DISGUISED:
            status, body = await asyncio.to_thread(sent, system, client.headers["authorization"], path)
            assert (status, b"not_found" in body) == (404, True), path
        # what is encoded behind that is an id's
        status, body = await asyncio.to_thread(
            sent, system, client.headers["authorization"], "/ops/api/runs/run%5F%78/%65vents"
        )
        assert (status, b"run_not_found" in body) == (404, True)
        for path in ("/ops", "/ops/%6fps.js", "/metrics"):
            assert (await asyncio.to_thread(sent, system, "", path))[0] == 200, path


def sent(system: System, authorization: str, path: str) -> tuple[int, bytes]:
    """The answer to the path as it is: a client of HTTP may write it in another way."""
    host, _, port = system.urls[0].removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=WAIT_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": authorization} if authorization else {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


async def test_a_caller_without_the_claim_is_told_nothing(ops: Settings) -> None:
    """Whether the run is there or not, whatever else is wrong with the request."""
    insert_runs(ops, {"id": "run_x"})
    others: list[dict[str, Any]] = [
        {},
        {"ops": "true"},
        {"ops": 1},
        {"ops": False},
        {"role": "reader"},
        {"Ops": True},
    ]
    async with running(ops, ScriptedAnswers, workers=0) as system:
        for claims in others:
            async with console(system, **claims) as client:
                for path in (*READS, "runs?status=nonsense", "runs/run_x?content=1", "runs/none"):
                    refused(await client.get(f"/ops/api/{path}"), 403, "forbidden")
                for path in ACTS:
                    refused(await client.post(f"/ops/api/{path}", content=b"{"), 403, "forbidden")
        assert noted(ops) == []


async def test_a_caller_whom_nobody_knows_is_asked_for_a_token(ops: Settings) -> None:
    async with running(ops, ScriptedAnswers, workers=0) as system:
        for headers in ({}, {"Authorization": f"Bearer {token(ops, ops=True, exp=1)}"}):
            async with client_of(system, **headers) as client:
                for path in READS:
                    response = await client.get(f"/ops/api/{path}")
                    refused(response, 401, "unauthenticated")
                    assert response.headers["www-authenticate"].startswith("Bearer")
                for path in ACTS:
                    refused(await client.post(f"/ops/api/{path}"), 401, "unauthenticated")


async def test_what_was_written_needs_the_second_claim(ops: Settings) -> None:
    async with running(ops, ScriptedAnswers) as system:
        alice = await system.caller()
        answer = await alice.stream(create(str(Script(deltas=2)), metadata={"note": WRITTEN}))
        run = f"runs/{answer.run_id}"
        async with console(system, **OPERATOR) as client:
            assert await got(client, "caller") == {"tenant": "", "user": "olga", "content": False}
            for path in (run, f"{run}/events"):
                assert "content" not in await got(client, path)
                refused(await client.get(f"/ops/api/{path}?content=1"), 403, "content_forbidden")
                shown = (await client.get(f"/ops/api/{path}?content=0")).text
                assert WRITTEN not in shown
                assert "hold_attempts" not in shown
        async with console(system, **READER) as client:
            assert (await got(client, "caller"))["content"] is True
            content = (await got(client, run, content=1))["content"]
            assert content["context"]["claims"]["sub"] == "alice"
            assert "hold_attempts" in content["anchor"]["content"][0]["text"]
            events = (await got(client, f"{run}/events", content=1))["events"]
            assert events[0]["data"]["type"] == "thread.created"
            assert "data" not in (await got(client, f"{run}/events"))["events"][0]


async def test_without_a_second_setting_nobody_reads_what_was_written(ops: Settings) -> None:
    insert_runs(ops, {"id": "run_x"})
    one = ops.model_copy(update={"ops_content_claim": None})
    async with running(one, ScriptedAnswers, workers=0) as system, console(system, **READER) as client:
        assert (await got(client, "caller"))["content"] is False
        refused(await client.get("/ops/api/runs/run_x?content=1"), 403, "content_forbidden")


async def test_a_cookie_counts_for_the_console_s_own_page_alone(ops: Settings) -> None:
    """A page of another site cannot act with it, nor read with it where CORS_ORIGINS lets it use the chat."""
    shop = "https://shop.example"
    cookied = ops.model_copy(update={"token_cookie": "chat", "cors_origins": (shop,)})
    insert_runs(ops, {"id": "run_x"})
    async with (
        running(cookied, ScriptedAnswers, workers=0) as system,
        client_of(system, Cookie=f"chat={token(ops, **OPERATOR)}") as client,
    ):
        own = {"Sec-Fetch-Site": "same-origin", "Origin": system.urls[0]}
        assert (await client.get("/ops/api/caller", headers=own)).status_code == 200
        refused(await client.post("/ops/api/runs/run_x/cancel", headers=own), 409, "act_refused")
        for others in (
            {"Sec-Fetch-Site": "cross-site", "Origin": shop},
            {"Sec-Fetch-Site": "same-site", "Origin": "https://other.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": shop},
            {"Origin": "null"},
        ):
            for path in READS:
                refused(await client.get(f"/ops/api/{path}", headers=others), 403, "cross_site_request")
            for path in ACTS:
                refused(await client.post(f"/ops/api/{path}", headers=others), 403, "cross_site_request")
        assert noted(ops) == []


async def test_the_site_s_own_sign_in_counts_too(ops: Settings) -> None:
    """AUTHENTICATE says which claims its user has."""
    hook = "tests.support.servers.authenticate_hooks:by_session"
    site = ops.model_copy(
        update={"authenticate": hook, "ops_claim": "session=s-alice", "ops_content_claim": None}
    )
    async with running(site, ScriptedAnswers, workers=0) as system:
        async with client_of(system, Cookie="session=s-alice") as client:
            assert (await got(client, "caller"))["user"] == "alice"
        async with client_of(system, Cookie="session=s-bob") as client:
            refused(await client.get("/ops/api/caller"), 403, "forbidden")
        async with client_of(system) as client:
            refused(await client.get("/ops/api/caller"), 401, "unauthenticated")


async def test_an_operator_s_requests_are_counted_as_any_caller_s(ops: Settings) -> None:
    few = ops.model_copy(update={"caller_requests_per_minute": 8})
    async with running(few, ScriptedAnswers, workers=0) as system:
        async with console(system, **OPERATOR) as client:
            answers = [await client.get("/ops/api/caller") for _ in range(20)]
            codes = [answer.status_code for answer in answers]
            assert codes[:2] == [200, 200]
            limited = next(answer for answer in answers if answer.status_code != 200)
            refused(limited, 429, "rate_limited")
            assert int(limited.headers["retry-after"]) >= 1
        async with console(system, sub="other", **OPERATOR) as client:
            await got(client, "caller")


# --- what it shows


async def test_it_shows_what_the_commands_print(ops: Settings, settings: Settings, tmp_path: Path) -> None:
    """The same JSON of a run that is executed, and of one that has ended."""
    async with running(ops, ScriptedAnswers) as system, console(system, **OPERATOR) as client:
        alice = await system.caller("alice", "acme")
        ended = await alice.stream(create(str(Script(deltas=1))))
        await system.receipts()
        script = create(str(Script(gate=str(tmp_path), holds=[1])))
        async with asking(alice, script) as asker:
            await asker.until("the answer has begun", lambda answer: answer.text)
            for run_id in (asker.run_id, ended.run_id):
                listed, shown, events, workers = await asyncio.gather(
                    command(settings, "runs", "list", "--json"),
                    command(settings, "runs", "show", run_id, "--json"),
                    command(settings, "runs", "events", run_id, "--json"),
                    command(settings, "workers", "list", "--json"),
                )
                page = await got(client, "runs")
                assert (page["runs"], page["next"], page["redis"]) == (listed.lines, None, "ok")
                mine, theirs = await got(client, f"runs/{run_id}"), shown.json
                for moving in (mine, theirs):  # a lease's time runs, and the clock is looked at now and then
                    moving["job"] |= {"lease_seconds": None, "due_seconds": None}
                    if moving["worker"] is not None:
                        # the worker shares the test's event loop, which a busy machine lets stand still
                        moving["worker"] |= {"used": 0, "clock_offset_seconds": None, "blocked_seconds": 0}
                assert {name: mine[name] for name in theirs} == theirs
                assert set(mine) - set(theirs) == {"attempts", "followers", "redis"}
                journal = await got(client, f"runs/{run_id}/events")
                assert [{**event, "at": None} for event in journal["events"]] == [
                    {**event, "at": None} for event in events.lines
                ]
                known = (await got(client, "workers"))["workers"]
                assert [worker["id"] for worker in known] == [worker["id"] for worker in workers.lines]
            assert page["runs"][0]["worker"] == {"worker_id": known[0]["id"], "is_held": True}
            open_gate(tmp_path, 1)
            assert (await asker.finished()).end == "completed"


async def test_a_run_is_shown_with_what_only_the_console_asks_for(ops: Settings, tmp_path: Path) -> None:
    """Who follows it, its attempts, and the times of its entries."""
    async with running(ops, ScriptedAnswers) as system, console(system, **OPERATOR) as client:
        alice = await system.caller()
        script = create(str(Script(deltas=3, gate=str(tmp_path), holds=[1])))
        async with asking(alice, script) as asker:
            await asker.until("the answer has begun", lambda answer: answer.text)
            shown = await got(client, f"runs/{asker.run_id}")
            assert shown["followers"] == 1
            [first] = shown["attempts"]
            assert first["attempt"] == 1
            assert first["entries"] >= 2
            assert shown["worker"]["id"] == shown["job"]["place"]["worker_id"]
            open_gate(tmp_path, 1)
            await asker.finished()

        async def is_left() -> bool:
            return (await got(client, f"runs/{asker.run_id}"))["followers"] == 0

        await wait_until("nobody follows the run", is_left)
        shown = await got(client, f"runs/{asker.run_id}")
        events = (await got(client, f"runs/{asker.run_id}/events"))["events"]
        times = {event["kind"]: event["at"] for event in events}
        assert times["thread.created"] == shown["accepted_at"]
        assert times["attempt"] == shown["started_at"]
        assert times["end"] == shown["ended_at"]
        assert None not in times.values()
        assert events[-1]["detail"] == "completed"
        assert shown["attempts"] == [{"attempt": 1, "entries": int(events[-1]["cursor"].split("-")[1])}]


async def test_everything_at_a_glance(ops: Settings, settings: Settings) -> None:
    async with running(ops, ScriptedAnswers) as system, console(system, **OPERATOR) as client:
        await (await system.caller()).stream(create(str(Script(deltas=1))))

        async def knows() -> Any:
            found = await got(client, "overview")
            is_known = found.get("queue", {}).get("workers") == 1 and found["ended_last_hour"]
            return found if is_known else None

        found = await wait_until("the overview knows the worker and the end", knows)
        assert (found["postgresql"], found["redis"], len(found["workers"])) == ("ok", "ok", 1)
        assert found["ended_last_hour"] == [{"status": "completed", "error": None, "count": 1}]
        queue = await got(client, "queue")
        assert queue.pop("callers") == []
        assert queue.keys() == found["queue"].keys()
        printed = (await command(settings, "status", "--json")).json
        assert printed.keys() == found.keys()


async def test_an_act_is_seen_in_the_next_overview(ops: Settings) -> None:
    """Although answers are kept for a while."""
    insert_runs(ops, {"id": "run_x", "status": "queued"})
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **OPERATOR) as client:
        assert (await got(client, "overview"))["acts"] == []
        await done(client, "runs/run_x/cancel")
        [act] = (await got(client, "overview"))["acts"]
        assert (act["act"], act["actor"]) == ("cancel", "olga (console)")


async def test_runs_are_found_by_each_filter(ops: Settings) -> None:
    now = datetime.now(UTC)
    insert_runs(
        ops,
        {"id": "run_a", "tenant": "acme", "owner": "ann", "queued_at": now - timedelta(minutes=1)},
        {"id": "run_b", "tenant": "acme", "owner": "bob", "queued_at": now - timedelta(hours=2)},
        {"id": "run_c", "status": "failed", "error": "timeout", "queued_at": now - timedelta(hours=3)},
        {"id": "run_d", "status": "cancelled", "queued_at": now - timedelta(hours=4)},
    )
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **OPERATOR) as client:

        async def ids(**query: Any) -> str:
            page = await got(client, "runs", **query)
            return "".join(run["id"].removeprefix("run_") for run in page["runs"])

        assert await ids() == "abcd"
        assert await ids(status="failed") == "c"
        assert await ids(status=["failed", "cancelled"]) == "cd"
        assert await ids(status="queued") == ""
        assert await ids(since="1h") == "a"
        assert await ids(older_than="1h") == "bcd"
        assert await ids(older_than="1h", since="150m") == "b"
        assert await ids(tenant="acme") == "ab"
        assert await ids(user="bob") == "b"
        assert await ids(user="bob", tenant="globex") == ""
        assert await ids(thread="thr_2") == "c"
        assert await ids(error="timeout") == "c"
        assert await ids(error="timeout", tenant="acme") == ""
        assert await ids(error="other") == ""
        assert await ids(run="run_b") == "b"
        assert await ids(run="run_b", status="failed") == ""
        assert await ids(run="run_") == ""
        assert await ids(limit=2) == "ab"
        assert await ids(tenant="", user="", status="", since="", run="", before="", limit="") == "abcd"


async def test_a_filter_that_means_nothing_is_refused(ops: Settings) -> None:
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **OPERATOR) as client:
        for query, named in MEANINGLESS:
            assert named in refused(await client.get(f"/ops/api/runs?{query}"), 400, "invalid_filter")


async def test_other_queries_that_mean_nothing_are_refused(ops: Settings) -> None:
    insert_runs(ops, {"id": "run_x"})
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **READER) as client:
        for path in (
            "overview?x=1",
            "runs/run_x?content=yes",
            "runs/run_x?after=0-1",
            "runs/run_x/events?limit=1001",
            "runs/run_x/events?content=1&content=1",
        ):
            refused(await client.get(f"/ops/api/{path}"), 400, "invalid_filter")
        for cursor in ("x", "1", "1-2-3", "01-1"):
            refused(await client.get(f"/ops/api/runs/run_x/events?after={cursor}"), 400, "invalid_cursor")
        refused(await client.delete("/ops/api/runs/run_x"), 405, "method_not_allowed")
        refused(await client.get("/ops/api/runs/run_x/cancel"), 405, "method_not_allowed")
        refused(await client.get("/ops/api/nothing"), 404, "not_found")


@pytest.mark.parametrize(
    "query", [{}, {"tenant": "acme"}, {"user": "alice"}, {"status": "completed"}], ids=str
)
async def test_pages_lose_no_run_and_show_none_twice_while_runs_are_added(
    ops: Settings, query: dict[str, str]
) -> None:
    """Also of runs that were accepted in the same microsecond."""
    times = [NOON + timedelta(microseconds=number // 4) for number in range(40)]
    insert_runs(
        ops, *({"id": f"run_{n:02}", "tenant": "acme", "queued_at": at} for n, at in enumerate(times))
    )
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **OPERATOR) as client:
        seen: list[str] = []
        before, pages = None, 0
        while True:
            page = await got(client, "runs", limit=7, **query, **({"before": before} if before else {}))
            seen += [run["id"] for run in page["runs"]]
            pages += 1
            insert_runs(ops, {"id": f"run_new_{pages}", "tenant": "acme", "queued_at": datetime.now(UTC)})
            before = page["next"]
            if before is None:
                break
        assert seen == [f"run_{number:02}" for number in reversed(range(40))]
        assert pages == 6
        whole = await got(client, "runs", limit=200, **query)
        assert whole["next"] is None
        assert len(whole["runs"]) == 46


async def test_the_command_goes_on_after_a_run_too(ops: Settings, settings: Settings) -> None:
    insert_runs(ops, *({"id": f"run_{n}", "queued_at": NOON + timedelta(hours=n)} for n in range(4)))
    done = await command(settings, "runs", "list", "--json", "--before", "run_2")
    assert [run["id"] for run in done.lines] == ["run_1", "run_0"]
    gone = await command(settings, "runs", "list", "--before", "run_9")
    assert (gone.status, gone.output) == (2, "")
    assert "run_not_found" in gone.error


async def test_a_list_is_planned_with_its_filters_however_often_it_is_asked_for(settings: Settings) -> None:
    """A plan without them reads and sorts all runs; PostgreSQL takes one after five executions, or here at once."""
    execute(
        settings,
        """DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %%I SET plan_cache_mode = force_generic_plan', current_database());
        END $$""",
    )
    async with Database(few_connections(settings)) as database:
        lists = RunLists(database)
        for _ in range(12):
            await lists.find(RunFilter(), 10)
        async with database.connection() as connection:
            plans = await connection.fetch(
                """SELECT generic_plans, custom_plans FROM pg_prepared_statements
                WHERE statement LIKE '%wanted_status%' AND statement NOT LIKE '%pg_prepared%'"""
            )
        assert [tuple(each) for each in plans] == [(0, 12)]


async def test_a_journal_is_read_by_pages(ops: Settings) -> None:
    async with running(ops, ScriptedAnswers) as system, console(system, **OPERATOR) as client:
        answer = await (await system.caller()).stream(create(str(Script(deltas=60))))
        path = f"runs/{answer.run_id}/events"
        whole = await got(client, path, limit=1000)
        assert whole["next"] is None
        assert len(whole["events"]) > 40
        read: list[Any] = []
        after = None
        while True:
            page = await got(client, path, limit=23, **({"after": after} if after else {}))
            read += page["events"]
            if page["next"] is None:
                break
            assert page["next"] == page["events"][-1]["cursor"]
            after = page["next"]
        assert read == whole["events"]
        last = whole["events"][-1]["cursor"]
        assert await got(client, path, after=last) == {"events": [], "next": None}


async def test_a_page_of_large_entries_ends_early_and_the_next_goes_on(ops: Settings, redis: Redis) -> None:
    """A megabyte at most, but for the entry that reaches it."""
    insert_runs(ops, {"id": "run_x"})
    event = b'{"type":"progress_update","text":"' + b"x" * 300_000 + b'"}'
    for seq in range(1, 31):
        await redis.xadd(journal("run_x"), {b"e": event}, id=f"1-{seq}")
    await redis.expire(journal("run_x"), 600)
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **READER) as client:
        cursors: list[str] = []
        after, pages = "0-0", 0
        while after is not None:
            response = await client.get(f"/ops/api/runs/run_x/events?content=1&limit=1000&after={after}")
            assert len(response.content) < 1_400_000
            page = response.json()
            cursors += [entry["cursor"] for entry in page["events"]]
            after, pages = page["next"], pages + 1
        assert cursors == [f"1-{seq}" for seq in range(1, 31)]
        assert pages == 8


async def test_an_entry_may_be_anything(ops: Settings, redis: Redis) -> None:
    """Whoever can write to Redis may have put it there: the page of the journal is JSON all the same."""
    insert_runs(ops, {"id": "run_x"})
    for seq, event in enumerate(
        (
            b'{"type": "half \\ud800"}',
            b'{"type": "progress_update", "icon": NaN, "text": 1e999}',
            b'{"type": "thread.item.added", "item": {"type": [], "id": {}, "created_at": "9999-12-31T23:59:59-23:59"}}',
            b'{"type": "thread.created", "thread": {"created_at": "soon"}}',
            b"[" * 100_000,
            b'{"type":"progress_update","text":' + b"[" * 950 + b"]" * 950 + b"}",
            b"\xff",
            b"7",
        ),
        1,
    ):
        await redis.xadd(journal("run_x"), {b"e": event}, id=f"1-{seq}")
    await redis.expire(journal("run_x"), 600)
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **READER) as client:
        events = (await got(client, "runs/run_x/events", content=1))["events"]
        assert [event["kind"] for event in events] == [
            "half \ud800",
            "progress_update",
            "thread.item.added",
            "thread.created",
            *["unreadable"] * 4,
        ]
        assert events[1]["data"] == {"type": "progress_update", "icon": None, "text": None}
        assert [event["at"] for event in events] == [None] * 8  # nothing was noted, and no item says when
        await redis.xadd(journal("run_x"), {b"other": b"x"}, id="2-1")
        refused(await client.get("/ops/api/runs/run_x/events"), 410, "journal_gone")
        assert (await got(client, "runs/run_x"))["attempts"] == [{"attempt": 1, "entries": 8}]
        await redis.delete(journal("run_x"))
        await redis.set(journal("run_x"), "x", ex=600)
        refused(await client.get("/ops/api/runs/run_x/events"), 503, "queue_unavailable")
        assert (await got(client, "runs/run_x"))["attempts"] == [{"attempt": 1, "entries": None}]


async def test_numbers_and_notes_in_redis_may_be_anything(ops: Settings, redis: Redis) -> None:
    """A job is due at no time that JSON has, and the note of an entry's time is no cursor, or no stream."""
    insert_runs(ops, {"id": "run_x"}, {"id": "run_y"})
    for run_id in ("run_x", "run_y"):
        await redis.xadd(journal(run_id), {b"e": b'{"type":"progress_update"}'}, id="1-1")
        await redis.expire(journal(run_id), 600)
    await redis.xadd(entry_times("run_x"), {b"c": b"x"})
    await redis.expire(entry_times("run_x"), 600)
    await redis.set(entry_times("run_y"), b"a text", ex=600)
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **OPERATOR) as client:
        for score in (math.inf, -math.inf):
            await redis.zadd(QUEUE, {"run_x": score})
            job = (await got(client, "runs/run_x"))["job"]
            assert (job["has_job"], job["due_seconds"]) == (True, None)
        for run_id in ("run_x", "run_y"):
            [event] = (await got(client, f"runs/{run_id}/events"))["events"]
            assert (event["cursor"], event["at"]) == ("1-1", None)


async def test_content_that_is_too_much_or_too_deep_is_not_shown(ops: Settings) -> None:
    insert_runs(ops, {"id": "run_x"})
    deep = "[" * 600 + "]" * 600
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **READER) as client:
        for text, is_shown in ((deep, False), ("[" * 150 + "]" * 150, True), (f'["{"x" * 300_000}"]', False)):
            execute(
                ops, "UPDATE runs SET input = jsonb_build_object('a', %s::jsonb) WHERE id = 'run_x'", text
            )
            content = (await got(client, "runs/run_x", content=1))["content"]
            assert list(content["input"]) == ["a" if is_shown else "not_shown_chars"]
            assert (content["context"], content["anchor"]) == ({"claims": {}}, None)


async def test_what_somebody_has_named_is_text(ops: Settings) -> None:
    """Never HTML: neither in an answer nor in an error."""
    name = "<script>alert(1)</script>"
    insert_runs(ops, {"id": f"run_{name}", "owner": name, "thread_id": name, "tenant": name})
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **OPERATOR) as client:
        [run] = (await got(client, "runs", user=name))["runs"]
        assert (run["id"], run["user"], run["tenant"]) == (f"run_{name}", name, name)
        for response in (
            await client.get("/ops/api/runs", params={name: "1"}),
            await client.get("/ops/api/runs/%3Cimg%3E"),
            await client.post("/ops/api/workers/%3Cimg%3E/drain"),
            await client.get("/ops/%3Cimg%3E"),
        ):
            assert response.headers["content-type"] == "application/json"
            assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_run_that_is_not_there(ops: Settings) -> None:
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **READER) as client:
        for run_id in ("run_none", "%00", "r" * 600, "..%2e", "%F0%9F%92%A9"):
            for path in (f"runs/{run_id}", f"runs/{run_id}?content=1", f"runs/{run_id}/events"):
                refused(await client.get(f"/ops/api/{path}"), 404, "run_not_found")
            for act in ("cancel", "requeue", "retry"):
                refused(await client.post(f"/ops/api/runs/{run_id}/{act}"), 404, "run_not_found")
        refused(await client.post("/ops/api/workers/none/drain"), 404, "worker_not_found")
        assert noted(ops) == []


async def test_where_redis_is_away_rows_and_reasons_are_shown(ops: Settings, redis_url: str) -> None:
    insert_runs(ops, {"id": "run_x", "status": "running"})
    async with Link(redis_url) as link:
        linked = ops.model_copy(update={"redis_url": link.url, "caller_requests_per_minute": 600})
        async with (
            running(linked, ScriptedAnswers, workers=0) as system,
            console(system, **OPERATOR) as client,
        ):
            await got(client, "overview")
            link.refuse()

            async def says_so() -> Any:
                found = await got(client, "overview")
                return found if found["redis"] != "ok" else None

            found = await wait_until("the overview says that Redis is away", says_so)
            assert found["redis"].startswith("queue_unavailable: ")
            assert found["postgresql"] == "ok"
            assert "workers" not in found
            page = await got(client, "runs")
            assert (page["runs"][0]["worker"], page["redis"]) == (None, found["redis"])
            shown = await got(client, "runs/run_x")
            assert (shown["job"], shown["worker"], shown["followers"]) == (None, None, None)
            assert shown["attempts"] == [{"attempt": 1, "entries": None}]
            refused(await client.get("/ops/api/workers"), 503, "queue_unavailable")
            refused(await client.get("/ops/api/runs/run_x/events"), 503, "queue_unavailable")
            await link.listen()

            async def is_back() -> bool:
                return (await got(client, "overview"))["redis"] == "ok"

            await wait_until("the overview says that Redis is back", is_back)


async def test_where_redis_does_not_answer_the_console_does(
    ops: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_runs(ops, {"id": "run_x", "status": "running"})
    async with Link(redis_url) as link:
        linked = ops.model_copy(update={"redis_url": link.url, "caller_requests_per_minute": 600})
        async with (
            running(linked, ScriptedAnswers, workers=0) as system,
            console(system, **OPERATOR) as client,
        ):
            await got(client, "runs")
            monkeypatch.setattr(console_module, "REDIS_SECONDS", 0.5)
            link.hold()
            pages = await asyncio.gather(*(got(client, "runs") for _ in range(3)))
            assert [page["runs"][0]["id"] for page in pages] == ["run_x"] * 3
            assert all(page["redis"].startswith("queue_unavailable: ") for page in pages)
            many = await asyncio.gather(*(got(client, "overview") for _ in range(10)))
            assert all(found["postgresql"] == "ok" != found["redis"] for found in many)
            link.release()


async def test_operators_wait_for_each_other_and_not_for_ever(
    ops: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what they look for takes a few connections of the pool at most."""
    async with (
        Database(few_connections(ops)) as database,
        opened_console(ops, database, Clocks(redis, database)) as opened,
    ):
        assert opened is not None
        async with AsyncExitStack() as others:
            for _ in range(console_module.AT_ONCE):
                await others.enter_async_context(opened.limited_read())
            waiting = asyncio.create_task(_turn(opened))
            await asyncio.sleep(0)
            assert not waiting.done()
            with monkeypatch.context() as patched:
                patched.setattr(console_module, "WAIT_SECONDS", 0)
                with pytest.raises(Overloaded):
                    await _turn(opened)
        await waiting
        await _turn(opened)


async def test_what_costs_more_is_asked_for_less_often(
    ops: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ends within the hour not with each overview, the notes of times not where there is no new entry."""
    asked: list[str] = []

    def counting(owner: type, name: str) -> None:
        original = getattr(owner, name)

        async def counted(*given: Any) -> Any:
            asked.append(name)
            return await original(*given)

        monkeypatch.setattr(owner, name, counted)

    counting(RunLists, "ended_lately")
    counting(DatabaseFigures, "ask")
    counting(JournalTimes, "of")
    insert_runs(ops, {"id": "run_x"})
    await redis.xadd(journal("run_x"), {b"e": b'{"type":"progress_update"}'}, id="0-1")
    await redis.expire(journal("run_x"), 600)
    monkeypatch.setattr(console_module, "KEPT_SECONDS", 0)
    async with (
        Database(few_connections(ops)) as database,
        opened_console(ops, database, Clocks(redis, database)) as opened,
    ):
        assert opened is not None
        for _ in range(3):
            assert (await opened.overview(None))["ended_last_hour"] == [
                {"status": "completed", "error": None, "count": 1}
            ]
        assert asked == ["ask", "ended_lately", "ask", "ask"]
        for after, found in ((Cursor(0, 0), 1), (Cursor(0, 1), 0)):
            assert len((await opened.events("run_x", after, 10, content=False))["events"]) == found
        assert asked[4:] == ["of"]


async def _turn(opened: Console) -> None:
    async with opened.limited_read():
        pass


# --- what it does


class Guarded(ScriptedAnswers):
    """Its code is called by each admission, and does what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.does: Callable[[], None] = lambda: None

    def get_stream_options(self, thread: ThreadMetadata, context: Any) -> StreamOptions:
        self.does()
        return super().get_stream_options(thread, context)


async def test_a_retry_calls_the_site_s_code_beside_the_loop_that_relays(ops: Settings) -> None:
    """While that code blocks its thread, others are answered; what it raises is told by its place alone.

    Of what it refuses the status is told: its words are about a message that not every operator may read.
    """
    server = Guarded()
    entered, goes_on = threading.Event(), threading.Event()

    def blocks() -> None:
        entered.set()
        goes_on.wait(60)

    def raises() -> None:
        raise RuntimeError(WRITTEN)

    def refuses() -> None:
        raise HTTPException(451, WRITTEN)

    async with (
        running(ops, lambda: server, workers=0) as system,
        console(system, **OPERATOR) as client,
        (await system.caller()).open_stream(create(str(Script()))) as response,
    ):
        run_id = response.headers["x-run-id"]
        await done(client, f"runs/{run_id}/cancel")
        server.does = raises
        failed = await client.post(f"/ops/api/runs/{run_id}/retry")
        said = refused(failed, 424, "retry_failed")
        assert "RuntimeError at " in said
        assert "raises" in said
        assert WRITTEN not in failed.text
        server.does = refuses
        failed = await client.post(f"/ops/api/runs/{run_id}/retry")
        said = refused(failed, 409, "act_refused")
        assert said == "The site's code refuses the message, with 451."
        assert WRITTEN not in failed.text
        server.does = blocks
        retried = asyncio.create_task(done(client, f"runs/{run_id}/retry"))
        await wait_until("the site's code blocks", entered.is_set)
        assert (await got(client, "runs"))["runs"][0]["id"] == run_id
        assert not retried.done()
        goes_on.set()
        assert (await retried)["is_new"] is True
    assert [(act, outcome[:4]) for _, act, _, outcome in noted(ops)] == [
        ("cancel", "canc"),
        ("retry", "not "),
        ("retry", "not "),
        ("retry", "run "),
    ]


async def test_each_act_is_done_and_noted_with_who_did_it(ops: Settings, tmp_path: Path) -> None:
    async with running(ops, ScriptedAnswers) as system, console(system, tenant="hq", **OPERATOR) as client:
        alice = await system.caller()
        ended = await alice.stream(create(str(Script(deltas=1))))
        again = await done(client, f"runs/{ended.run_id}/retry")
        assert again == {
            "target": ended.run_id,
            "outcome": f"run {again['run_id']}",
            "run_id": again["run_id"],
            "is_new": True,
            "has_token": True,
        }

        async def answered() -> bool:
            return (await got(client, f"runs/{again['run_id']}"))["status"] == "completed"

        await wait_until("the message is answered again", answered)
        repeated = await done(client, f"runs/{ended.run_id}/retry")
        assert (repeated["run_id"], repeated["is_new"]) == (again["run_id"], False)
        script = create(str(Script(gate=str(tmp_path), holds=[1])))
        async with asking(alice, script) as asker:
            await asker.until("the answer has begun", lambda answer: answer.text)
            run = f"runs/{asker.run_id}"
            said = refused(await client.post(f"/ops/api/{run}/requeue"), 409, "act_refused")
            assert "with force" in said
            refused(await client.post(f"/ops/api/{run}/retry"), 409, "act_refused")
            stopped = await done(client, f"{run}/cancel")
            assert stopped == {"target": asker.run_id, "outcome": "stop requested"}
            assert (await asker.finished()).end == "cancelled"
        refused(await client.post(f"/ops/api/{run}/cancel"), 409, "act_refused")
        [worker] = (await got(client, "workers"))["workers"]
        who = "hq/olga (console)"
        assert noted(ops) == [
            (who, "retry", ended.run_id, f"run {again['run_id']}"),
            (who, "retry", ended.run_id, f"run {again['run_id']} answers it already"),
            (who, "requeue", asker.run_id, "not done: act_refused"),
            (who, "cancel", asker.run_id, "stop requested"),
        ]
        shown = await got(client, run)
        assert [act["act"] for act in shown["acts"]] == ["cancel", "requeue"]
        assert worker["draining"] is False


async def test_a_run_is_taken_from_its_worker_with_force_alone(ops: Settings, tmp_path: Path) -> None:
    short = ops.model_copy(update={"lease_seconds": 1})
    async with running(short, ScriptedAnswers) as system, console(system, **OPERATOR) as client:
        script = create(str(Script(gate=str(tmp_path), holds=[1], hold_attempts=1)))
        async with asking(await system.caller(), script) as asker:
            await asker.until("the answer has begun", lambda answer: answer.text)
            path = f"runs/{asker.run_id}/requeue"
            for body in (b"", b"{}", b'{"force": false}'):
                refused(await client.post(f"/ops/api/{path}", content=body), 409, "act_refused")
            taken = await done(client, path, json={"force": True})
            assert taken["outcome"].startswith("taken from worker ")
            assert (await asker.finished()).end == "completed"
        assert noted(ops)[-1][:3] == ("olga (console)", "requeue --force", asker.run_id)


async def test_a_worker_is_drained(ops: Settings) -> None:
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **OPERATOR) as client:
        task = asyncio.create_task(create_worker(ops, ScriptedAnswers()).run())

        async def there() -> Any:
            return (await got(client, "workers"))["workers"]

        [worker] = await wait_until("the worker is there", there)
        assert await done(client, f"workers/{worker['id']}/drain") == {
            "target": worker["id"],
            "outcome": "draining",
        }
        await task
        assert noted(ops) == [("olga (console)", "drain", worker["id"], "draining")]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 422, "invalid_request"),
        (b'{"force": 1}', 422, "invalid_request"),
        (b'{"force": "true"}', 422, "invalid_request"),
        (b'{"froce": true}', 422, "invalid_request"),
        (b'{"force": true' + b" " * 2000 + b"}", 413, "body_too_large"),
    ],
    ids=str,
)
async def test_a_body_that_means_nothing_does_nothing(
    ops: Settings, body: bytes, status: int, code: str
) -> None:
    insert_runs(ops, {"id": "run_x", "status": "queued"})
    async with running(ops, ScriptedAnswers, workers=0) as system, console(system, **OPERATOR) as client:
        refused(await client.post("/ops/api/runs/run_x/requeue", content=body), status, code)
        assert noted(ops) == []


# --- its page


async def test_the_page_is_static_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html><title>Console</title>")
    (tmp_path / "ops.js").write_text("export {};")
    (tmp_path.parent / "outside.txt").write_text("outside")
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(ops_page_router(is_local=False, directory=tmp_path))
    async with serving(app) as url, httpx2.AsyncClient(base_url=url) as client:
        for path, kind in (("/ops", "text/html"), ("/ops/ops.js", "text/javascript")):
            response = await client.get(path)
            assert response.status_code == 200
            assert response.headers["content-type"].startswith(kind)
            policy = dict(
                each.split(" ", 1) for each in response.headers["content-security-policy"].split("; ")
            )
            assert policy["default-src"] == "'self'"
            assert policy["frame-ancestors"] == "'none'"
            assert not {"script-src", "style-src", "connect-src"} & policy.keys()
            assert response.headers["cache-control"] == "no-cache"
            again = await client.get(path, headers={"If-None-Match": response.headers["etag"]})
            assert again.status_code == 304
        slashed = await client.get("/ops/", follow_redirects=True)
        assert (slashed.status_code, slashed.url.path) == (200, "/ops")
        for path in ("/ops/none.js", "/ops/..%2foutside.txt", "/ops/%2e%2e/outside.txt", "/ops/a/b"):
            assert (await client.get(path)).status_code == 404
        assert (await client.get("/ops/options.json")).json() == {"local": False}
        assert (await client.post("/ops")).status_code == 405


async def test_local_mode_s_console_answers_this_machine_alone(ops: Settings) -> None:
    """Its page signs in through the local issuer, which gives the claims where they are asked for, and only there."""
    async with running(ops, ScriptedAnswers, workers=0) as system, client_of(system) as client:
        assert (await client.get("/ops/options.json")).json() == {"local": True}
        for path in ("/ops", "/ops/options.json", "/ops/ops.js"):
            response = await client.get(path, headers={"Host": "elsewhere.example"})
            assert (response.status_code, response.json()["error"]["code"]) == (403, "local_only")
        for asked, allowed in (({"operator": True}, True), ({"operator": False}, False), ({}, False)):
            issued = await client.post("/dev/token", json={"sub": "operator", **asked})
            headers = {"Authorization": f"Bearer {issued.json()['access_token']}"}
            response = await client.get("/ops/api/caller", headers=headers)
            assert (response.status_code == 200) is allowed
            if allowed:
                assert response.json() == {"tenant": "", "user": "operator", "content": True}
        refused_body = await client.post("/dev/token", json={"sub": "operator", "operator": "yes"})
        assert refused_body.json()["error"]["code"] == "invalid_request"


async def test_the_console_goes_before_the_site_s_own_application(ops: Settings) -> None:
    """Where it is on; where it is off the path is the site's."""
    app = "tests.integration.test_ops_api:site_app"
    for settings, body in (
        (ops, '{"local":true}'),
        (ops.model_copy(update={"ops_claim": None}), "the site's"),
    ):
        site = settings.model_copy(update={"chatkit_app": app})
        async with running(site, ScriptedAnswers, workers=0) as system, client_of(system) as client:
            assert (await client.get("/ops/options.json")).text == body


async def site_app(scope: Any, receive: Any, send: Any) -> None:
    """CHATKIT_APP of a site."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"the site's"})
