"""What a line says of where it comes from: request, caller, run, worker, host; one line for each request."""

from __future__ import annotations

import asyncio
import json
import platform
from pathlib import Path
from typing import Any

import pytest

from relaykit.shared.owner import Owner
from relaykit.shared.queue.worker_registry import WorkerRegistry
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking
from tests.support.servers.relay_servers import Script
from tests.support.system import Process, Processes, create, running_processes, wait_until

SERVER = "tests.support.servers.relay_servers:ScriptedAnswers"
REQUEST_ID = "7f3b.proxy/42"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"chatkit_server": SERVER, "lease_seconds": 3})


def lines(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.output.splitlines() if line.startswith("{")]


def lines_of(action: str, process: Process) -> list[dict[str, Any]]:
    return [line for line in lines(process) if line["action"] == action]


def requests(system: Processes) -> list[dict[str, Any]]:
    """But for those of local mode, which signs in and fetches the keys."""
    found = lines_of("request_end", system.api_processes[0])
    return [line for line in found if line["route"] not in ("/dev/token", "/dev/jwks.json")]


async def test_a_request_can_be_followed_from_its_proxy_through_api_and_worker(
    settings: Settings, tmp_path: Path
) -> None:
    owner = Owner(tenant="acme", user_id="alice").digest
    async with running_processes(settings, tmp_path) as system:
        alice = await system.caller("alice", "acme")
        answer = await alice.stream(create(str(Script(deltas=40))), {"X-Request-Id": REQUEST_ID})
        assert answer.headers["x-request-id"] == REQUEST_ID
        await wait_until("the request has its line", lambda: requests(system))
        [line] = requests(system)
        assert {name: line[name] for name in ("method", "route", "status", "run_id", "request_id")} == {
            "method": "POST",
            "route": "/chatkit",
            "status": 200,
            "run_id": answer.run_id,
            "request_id": REQUEST_ID,
        }
        assert line["bytes"] == len(answer.raw)
        assert line["ms"] > 0
        assert (line["tenant"], line["user"]) == ("acme", owner)
        [worker] = system.worker_processes
        async with open_redis(settings.redis_url, connections=1) as redis:
            [state] = await WorkerRegistry(redis).workers()
        [begun] = lines_of("attempt_start", worker)
        [ended] = lines_of("attempt_end", worker)
        for of_run in (begun, ended):
            assert (of_run["request_id"], of_run["tenant"], of_run["user"]) == (REQUEST_ID, "acme", owner)
            assert of_run["run_id"] == answer.run_id
            assert (of_run["process"], of_run["worker"], of_run["host"]) == (
                "worker",
                state.id,
                platform.node(),
            )
        assert all(each["process"] == "api" and each["pid"] for each in lines(system.api_processes[0]))
        assert len([each for each in lines(worker) if each.get("run_id") == answer.run_id]) == 2


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "\xe4", "a\tb", '{"a":1}'])
async def test_what_is_no_id_gets_one(settings: Settings, tmp_path: Path, given: str) -> None:
    async with running_processes(settings, tmp_path, workers=0) as system:
        alice = await system.caller()
        sent: Any = {"X-Request-Id": given.encode("latin-1")}
        first, second = [await alice.get("/runs/run_none", sent) for _ in range(2)]
        ids = [each.headers["x-request-id"] for each in (first, second)]
        assert given not in ids
        assert len(set(ids)) == 2
        await wait_until("both have their lines", lambda: len(requests(system)) == 2)
        assert [line["request_id"] for line in requests(system)] == ids
        assert [line["status"] for line in requests(system)] == [404, 404]
        assert {line["route"] for line in requests(system)} == {"/runs/{run_id}"}


async def test_probes_that_are_well_have_no_line(settings: Settings, tmp_path: Path) -> None:
    async with running_processes(settings, tmp_path, workers=0) as system:
        alice = await system.caller()
        for path in ("/healthz", "/readyz", "/metrics", "/nowhere"):
            await alice.client.get(path)
        await wait_until("what came last has its line", lambda: requests(system))
        assert [(line["route"], line["status"]) for line in requests(system)] == [(None, 404)]


async def test_a_run_that_is_taken_over_says_from_whom_and_after_how_long(
    settings: Settings, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.mkdir()
    async with running_processes(settings, tmp_path) as system:
        alice = await system.caller()
        script = Script(gate=str(gate), holds=[1], hold_attempts=1)
        async with asking(alice, create(str(script))) as asker:
            await asker.until("it holds", lambda answer: answer.of_type("thread.item.updated"))
            [lost] = system.worker_processes
            started = await wait_until("it has begun", lambda: lines_of("attempt_start", lost))
            await asyncio.to_thread(lost.kill)
            heir = system.start_worker()

            async def completed() -> bool:
                return (await alice.get(f"/runs/{asker.run_id}")).json()["status"] == "completed"

            await wait_until("the run has completed", completed)
        [line] = lines_of("run_taken_over", heir)
        assert line["from_worker"] == started[0]["worker"]
        assert line["run_id"] == asker.run_id
        assert line["after_seconds"] >= settings.lease_seconds
        assert line["company"] == 1


async def test_a_request_behind_another_on_its_connection_has_nothing_of_that_one_s_caller(
    settings: Settings, tmp_path: Path
) -> None:
    async with running_processes(settings, tmp_path, workers=0) as system:
        alice = await system.caller("alice", "acme")
        port = settings.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "GET /runs/run_none HTTP/1.1\r\nHost: x\r\n"
        writer.write(
            f"{head}Authorization: Bearer {alice.token}\r\n\r\n{head}Connection: close\r\n\r\n".encode()
        )
        await reader.read()
        writer.close()
        await wait_until("both have their lines", lambda: len(requests(system)) == 2)
        first, second = requests(system)
        assert (first["status"], first["tenant"]) == (404, "acme")
        assert second["status"] == 401
        assert "tenant" not in second
        assert "user" not in second
