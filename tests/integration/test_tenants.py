"""Someone else's is as good as absent: every way to name a resource, by every kind of stranger."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import pytest_asyncio
from chatkit.types import FeedbackKind
from fastapi.routing import iter_route_contexts
from structlog.testing import capture_logs

from relaykit.api.main import create_app
from relaykit.shared.identity import RequestContext
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.integration.tenants import (
    ABSENT,
    CELLS,
    FIELDS,
    MARK,
    NAMELESS_ROUTES,
    NO_NAMES,
    ROUTES,
    Ask,
    Resources,
    text_fields,
)
from tests.integration.written import Written, written
from tests.support.repository.error_catalogue import assert_documented_error
from tests.support.sample_thread import add_place, add_tool_call
from tests.support.servers.protocol_servers import ProtocolServer
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import Caller, create, free_port, make_settings, message, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWNER = RequestContext(user_id="alice", tenant="acme")
STRANGERS = {
    "another user of the tenant": RequestContext(user_id="bob", tenant="acme"),
    "a user of that name in another tenant": RequestContext(user_id="alice", tenant="globex"),
    "a user of that name without a tenant": RequestContext(user_id="alice"),
}


class TrustingServer(ProtocolServer):
    """Takes it that whatever it is given is the caller's own."""

    async def add_feedback(
        self, thread_id: str, item_ids: list[str], feedback: FeedbackKind, context: RequestContext
    ) -> None:
        pass


@dataclass(frozen=True)
class World:
    """An API without a worker: what is queued stays so, and nothing is written unless a request does it."""

    settings: Settings
    store: PostgresStore
    owner: Caller
    theirs: Resources
    strangers: dict[str, tuple[Caller, Resources]]
    """Each with what is the stranger's own."""

    async def written(self) -> Written:
        return await written(self.settings.database_url, self.settings.redis_url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    databases: Databases, redis_databases: RedisDatabases, issuer_key_file: Path, tmp_path_factory: Any
) -> AsyncIterator[World]:
    with databases.fresh() as database_url, redis_databases.fresh() as redis_url:
        settings = make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            free_port(),
            attachments_url=f"file://{tmp_path_factory.mktemp('attachments')}",
            attachments_key="k" * 43,
        )
        async with (
            Database(settings) as database,
            running(settings, lambda: TrustingServer(store=None), workers=0) as system,
        ):
            store = PostgresStore(StoreCalls(database))
            owner = await system.caller(OWNER.user_id, OWNER.tenant)
            strangers = {}
            for name, context in STRANGERS.items():
                caller = await system.caller(context.user_id, context.tenant)
                strangers[name] = caller, await add_resources(store, caller, context, name)
            theirs = await add_resources(store, owner, OWNER, MARK)
            yield World(settings, store, owner, theirs, strangers)


async def add_resources(
    store: PostgresStore, caller: Caller, context: RequestContext, text: str, *, active: bool = True
) -> Resources:
    """What has `text` in it wherever that can be; its run is of its thread only where that shall be active."""
    place = await add_place(store, context, text)
    asking = await add_tool_call(store, context)
    body = message(place.thread, text) if active else create(text)
    async with caller.open_stream(body) as response:
        run = response.headers["x-run-id"]
    uploads = []
    for _ in range(2):
        file = {"name": f"{text}.png", "size": 3, "mime_type": "image/png"}
        uploads.append(await caller.ask({"type": "attachments.create", "params": file}))
    sent, unsent = uploads
    put = await caller.client.put(sent["upload_descriptor"]["url"], content=b"abc")
    assert put.status_code == 204, put.text
    return Resources(
        thread=place.thread,
        user=place.user,
        widget=place.widget,
        pending=place.pending,
        assistant=place.assistant,
        asking=asking,
        attachment=sent["id"],
        unsent=unsent["id"],
        run=run,
        links={
            "GET": urlsplit(sent["preview_url"]).query,
            "PUT": urlsplit(unsent["upload_descriptor"]["url"]).query,
        },
    )


async def send(caller: Caller, ask: Ask, authorization: str | None = None) -> httpx2.Response:
    """The answer; of a stream its beginning only, since no worker ends it."""
    headers = {"Authorization": authorization or f"Bearer {caller.token}", "Relaykit-Resume": "1"}
    request = caller.client.build_request(
        ask.method, ask.path, json=ask.json, content=ask.content, headers=headers
    )
    response = await caller.client.send(request, stream=True)
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        await response.aread()
    await response.aclose()
    return response


def told(response: httpx2.Response) -> tuple[int, bytes, dict[str, str]]:
    """All that a client can see of it but the date."""
    headers = {
        name.lower(): value
        for name, value in response.headers.items()
        if name.lower() not in ("date", "x-request-id")  # each answer's own
    }
    return response.status_code, response.content, headers


def without_ids(text: str, resources: Resources) -> str:
    for name, value in dataclasses.asdict(resources).items():
        if isinstance(value, str):
            text = text.replace(value, f"<{name}>")
    return text


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize(
    "name",
    CELLS,
)
async def test_someone_elses_is_as_good_as_absent(
    world: World, caplog: pytest.LogCaptureFixture, name: str, stranger: str
) -> None:
    """The same status, body, headers and log as for what does not exist, and nothing written."""
    cell, (caller, own) = CELLS[name], world.strangers[stranger]
    before = await world.written()
    answers, logs = [], []
    for resources in (ABSENT, world.theirs):
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "uvicorn"), capture_logs() as lines:
            response = await send(caller, cell.ask(own, resources))
        answers.append(told(response))
        for line in lines:
            line.pop("ms", None)
        logs.append(without_ids(json.dumps(lines, default=str) + caplog.text, resources))
        assert response.status_code == cell.status, response.text
        if cell.code is not None:
            assert response.json()["error"]["code"] == cell.code
            assert_documented_error(response, cell.status)
        assert MARK not in response.text + logs[-1]
    assert answers[0] == answers[1]
    assert logs[0] == logs[1]
    assert await world.written() == before


@pytest.mark.parametrize("name", CELLS)
async def test_the_owner_gets_what_the_strangers_do_not(world: World, name: str) -> None:
    """Each request of the matrix is one that works: what the strangers lack is the ownership and nothing else."""
    own = await add_resources(world.store, world.owner, OWNER, "mine", active=name.startswith("GET /threads"))
    response = await send(world.owner, CELLS[name].ask(own, own))
    assert response.status_code in (200, 202, 204), await response.aread()


@pytest.mark.parametrize(
    "name", [name for name in CELLS if "/attachments/" not in name or name.endswith("/link")]
)
async def test_without_a_good_token_nothing_is_told(world: World, name: str) -> None:
    """Not even to the owner, and not whether there is such a thing. A signed link is its own token."""
    before = await world.written()
    for authorization in ("Bearer x", "Basic x", f"Bearer {world.owner.token[:-6]}AAAAAA"):
        answers = []
        for resources in (ABSENT, world.theirs):
            response = await send(world.owner, CELLS[name].ask(world.theirs, resources), authorization)
            answers.append(told(response))
            assert response.status_code == 401
            assert_documented_error(response, 401)
        assert answers[0] == answers[1]
    assert await world.written() == before


@pytest.mark.parametrize("key", [None, "the-same-key"], ids=["without a key", "with a key"])
async def test_the_same_words_of_someone_else_are_another_run(world: World, key: str | None) -> None:
    """Neither an Idempotency-Key nor an identical body leads to the run of someone else."""
    headers = {"Idempotency-Key": key} if key else {}
    runs = []
    for caller in (world.owner, *(caller for caller, _ in world.strangers.values())):
        async with caller.open_stream(create("the same words"), headers) as response:
            assert response.status_code == 200
            runs.append(response.headers["x-run-id"])
    assert len(set(runs)) == len(runs)


async def test_a_list_holds_only_what_is_ones_own(world: World) -> None:
    """The strangers' threads and items, and nothing of the owner's."""
    for caller, own in world.strangers.values():
        for body in (
            {"type": "threads.list", "params": {"limit": 100}},
            {"type": "items.list", "params": {"thread_id": own.thread, "limit": 100}},
            {"type": "threads.get_by_id", "params": {"thread_id": own.thread}},
        ):
            shown = json.dumps(await caller.ask(body))
            assert MARK not in shown
            assert own.thread in shown
            assert world.theirs.thread not in shown


async def test_the_matrix_has_every_route(world: World) -> None:
    """A new route belongs into ROUTES, or among those that name nothing."""
    app = create_app(world.settings, ProtocolServer(store=None))
    routes = {(route.path, method) for route in iter_route_contexts(app.routes) for method in route.methods}
    assert routes == {("/chatkit", "POST"), *ROUTES, *NAMELESS_ROUTES}


def test_the_matrix_has_every_field_of_every_request() -> None:
    """A new request, or a new field of one, belongs into FIELDS, or among those that name nothing."""
    fields = set(text_fields())
    assert len({kind for kind, _ in fields}) == 16
    assert {found for found in fields if found[1] not in NO_NAMES} == set(FIELDS)
    assert {path for _, path in fields} >= NO_NAMES
