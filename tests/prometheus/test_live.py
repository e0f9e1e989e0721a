"""A real Prometheus scrapes live processes: every query of every rule and panel returns data."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from relaykit.shared.settings import Settings
from tests.prometheus.rules import DASHBOARDS, alerts, panel_expressions, recorded, selectors
from tests.support.clients.stream_clients import asking
from tests.support.endpoints.responses_endpoint import responses_endpoint
from tests.support.servers.observed_servers import ASK, FAIL
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.services.prometheus import Prometheus, prometheus
from tests.support.system import Caller, Process, create, free_port, keyed, running_processes, wait_until

pytestmark = pytest.mark.long

SERVER = "tests.support.servers.observed_servers:ObservedAnswers"
OF_INCIDENTS = {
    'relaykit_redis_failures_total{code="OOM"}': "a full Redis",
    'relaykit_redis_failures_total{code=~"READONLY|MASTERDOWN|UNBLOCKED|NOREPLICAS|MISCONF|LOADING"}': (
        "a Redis that is no primary, or that cannot write"
    ),
    'relaykit_database_failures_total{code="25006"}': "a PostgreSQL that is read-only",
    'relaykit_database_failures_total{code=~"53.*"}': "a PostgreSQL without connections, disk or memory",
}
"""What only an incident has, and which; tests/integration/test_service_failures.py counts some of them."""
ALERTS_TABLE = "Alerts that fire"
"""The panel that is empty while all is well."""


def asked() -> Iterator[tuple[str, str]]:
    """Every expression that has to return data, with where it stands: of an alert what it compares."""
    for name, expression in recorded().items():
        yield f"rule {name}", expression
    for alert in alerts():
        for selector in selectors(alert["expr"]):
            if selector.text not in OF_INCIDENTS:
                yield f"alert {alert['alert']}", selector.text
    for file in DASHBOARDS:
        for title, expression in panel_expressions(file):
            if title != ALERTS_TABLE:
                filled = expression.replace("$__rate_interval", "1m").replace("$namespace", ".*")
                yield f"{file.stem}: {title}", filled


async def test_every_query_returns_data_and_a_dead_worker_is_an_alert(
    settings: Settings, tmp_path: Path
) -> None:
    gates, port = tmp_path / "gates", free_port()
    gates.mkdir()
    given = settings.model_copy(update={"worker_port": port, "chatkit_server": SERVER, "lease_seconds": 5})
    async with (
        responses_endpoint() as endpoint,
        running_processes(
            given, tmp_path, OPENAI_API_KEY="key-of-the-test", OPENAI_BASE_URL=endpoint.base_url
        ) as system,
        prometheus(tmp_path, api=given.port, worker=port) as server,
    ):
        alice = await system.caller(tenant="acme")
        await _all_kinds_of_runs(alice, gates)
        empty: list[str] = []

        async def all_have_data() -> bool:
            nonlocal empty
            answers = [(where, await server.query(expression)) for where, expression in asked()]
            empty = [where for where, answer in answers if not answer]
            if empty:  # a rate needs two scrapes with something between
                await _all_kinds_of_runs(alice, gates)
            return not empty

        try:
            await wait_until("every query returns data", all_have_data)
        except AssertionError as error:
            raise AssertionError(f"{error}; without data: {empty}") from None
        assert await _alerts_beside_failing_runs(server) == set()
        await _a_dead_worker_is_told(server, system.worker_processes[0])


async def _all_kinds_of_runs(caller: Caller, gates: Path) -> None:
    """One that completes, one that fails, one with a model's call, one that is resumed, one that is cancelled."""
    assert (await caller.stream(create(str(Script(deltas=40))), keyed(uuid4()))).end == "completed"
    assert (await caller.stream(create(FAIL), keyed(uuid4()))).end == "failed"
    assert (await caller.stream(create(ASK), keyed(uuid4()))).end == "completed"
    gate = gates / uuid4().hex  # one that an earlier call has opened holds nothing
    gate.mkdir()
    held = Script(gate=str(gate), holds=[5])
    async with asking(caller, create(str(held)), keyed(uuid4())) as asker:
        await asker.until("it holds", lambda answer: answer.of_type("thread.item.updated"))
        run_id, cursor = asker.run_id, asker.answer.frames[-1][0]
    resumed = asyncio.create_task(caller.resume(run_id, cursor))
    await asyncio.gather(caller.cancel(run_id), resumed)
    assert resumed.result().end == "cancelled"
    assert (await caller.post(b"{")).status_code == 400
    open_gate(gate)


async def _alerts_beside_failing_runs(server: Prometheus) -> set[str]:
    """Every third run or so fails, on purpose."""
    return set(await server.alerts()) - {"RelaykitFailedRunsBurnFast", "RelaykitFailedRunsBurnSlow"}


async def _a_dead_worker_is_told(server: Prometheus, worker: Process) -> None:
    await asyncio.to_thread(worker.kill)

    async def told() -> bool:
        return await _alerts_beside_failing_runs(server) == {"RelaykitNoWorker"}

    await wait_until("the alert begins, and no other", told)
