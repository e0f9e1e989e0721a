"""Fuzzed ChatKit requests one upon the other, while nobody executes the runs of those before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.properties.chatkit_requests import KINDS, changed, places
from tests.properties.fuzz_world import FuzzWorld, fuzz_world
from tests.support.examples import examples
from tests.support.fuzzing import fresh_settings
from tests.support.services.databases import Databases, RedisDatabases

STREAMING = [
    *("threads.create", "threads.add_user_message", "threads.add_client_tool_output"),
    *("threads.add_structured_input", "threads.retry_after_item", "threads.custom_action"),
]

ANY_JSON = frozenset({"result", "payload", "data"})


@pytest.fixture(scope="module", params=["queue", "reject", "interrupt"])
def world(
    databases: Databases,
    redis_databases: RedisDatabases,
    issuer_key_file: Path,
    tmp_path_factory: Any,
    request: pytest.FixtureRequest,
) -> Iterator[FuzzWorld]:
    """A world without a worker, under each THREAD_POLICY."""
    folder = tmp_path_factory.mktemp("attachments")
    given_settings = fresh_settings(
        databases, redis_databases, issuer_key_file, folder, thread_policy=request.param
    )
    with given_settings as settings, fuzz_world(settings, workers=0) as world:
        yield world


def post(world: FuzzWorld, body: dict[str, Any]) -> httpx2.Response:
    """The answer; of a stream only its beginning, since nobody ends it."""
    raw = json.dumps(body).encode().replace(b'"<odd>"', b'"a\\u0000b"')
    with world.client.stream("POST", "/chatkit", content=raw) as response:
        if not response.headers["content-type"].startswith("text/event-stream"):
            response.read()
    return response


def with_something_odd(request: dict[str, Any]) -> dict[str, Any]:
    """U+0000 wherever any JSON may stand: no text of PostgreSQL's holds it."""
    request.setdefault("metadata", {})["odd"] = "<odd>"
    for path in places(request):
        if path and path[-1] in ANY_JSON and not ANY_JSON.intersection(path[:-1]):
            request = changed(request, path, {"odd": "<odd>"}, removed=False)
    return request


@examples(20)
@given(st.data())
def test_requests_one_upon_the_other(world: FuzzWorld, data: st.DataObject) -> None:
    """Each is taken or refused with nothing written; then every run can be seen, stopped, and its thread be read."""
    world.reset()
    runs: list[str] = []
    requests = world.requests(STREAMING, strays=False) | world.requests([*STREAMING, *KINDS])
    for _ in range(data.draw(st.integers(2, 4))):
        body = with_something_odd(data.draw(requests))
        before = world.fingerprint()
        response = post(world, body)
        event(f"{response.status_code} {body['type']}")
        world.check_refusal(response, before)
        if "x-run-id" in response.headers:
            assert body["type"] in STREAMING
            runs.append(response.headers["x-run-id"])
    for thread in world.threads:
        assert world.client.get(f"/threads/{thread}/run").status_code in (200, 204)
    for run in data.draw(st.permutations(sorted(set(runs)))):
        stopped = world.client.post(f"/runs/{run}/cancel")
        assert stopped.status_code in (202, 404), stopped.text  # 404: deleted with its thread
        if stopped.status_code == 202:
            assert stopped.json()["status"] == "cancelled"
            answer = world.client.get(f"/runs/{run}/events")
            assert answer.status_code == 200
            assert answer.text.endswith(": end cancelled\n\n")
    world.check_readable()
