"""No line of any process says what a user or a model wrote: at LOG_LEVEL=debug, in both formats, when all fails."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from relaykit.shared.settings import Settings
from tests.support.system import Caller, Processes, create, message, running_processes, wait_until

SECRETS = iter(range(1000))


class Marks:
    """Words that stand for what must not be logged, each with what it stood for."""

    def __init__(self) -> None:
        self.what: dict[str, str] = {}

    def __call__(self, what: str) -> str:
        mark = f"geheim{next(SECRETS):04d}x{os.urandom(4).hex()}"
        self.what[mark] = what
        return mark


async def converse(alice: Caller, mark: Marks) -> str:
    """Everything that carries text of the user's, of the model's or of a tool's; the thread's id."""
    body = create(f"hello {mark('a message')}", metadata={mark("a key of metadata"): mark("metadata")})
    first = await alice.stream({**body, "metadata": {"page": mark("metadata of the request")}})
    thread_id = first.thread_id
    tag = {"type": "input_tag", "id": "t", "text": mark("a tag"), "data": {"x": mark("a tag's data")}}
    quoted = {
        "content": [tag],
        "attachments": [],
        "quoted_text": mark("a quotation"),
        "inference_options": {},
    }
    await alice.stream(
        {"type": "threads.add_user_message", "params": {"thread_id": thread_id, "input": quoted}}
    )
    await alice.ask({"type": "threads.update", "params": {"thread_id": thread_id, "title": mark("a title")}})
    await alice.stream(message(thread_id, "tool"), {"Idempotency-Key": mark("an idempotency key")})
    output = {"thread_id": thread_id, "result": {mark("a key of a tool's output"): mark("a tool's output")}}
    await alice.stream({"type": "threads.add_client_tool_output", "params": output})
    await alice.stream(message(thread_id, "questions"))
    item_id = (await alice.items(thread_id))[-1]["id"]
    answers = {"why": {"values": [mark("an answer")]}, mark("an unknown question"): {"values": ["x"]}}
    given = {"thread_id": thread_id, "item_id": item_id, "input": {"answers": answers}}
    await alice.stream({"type": "threads.add_structured_input", "params": given})
    file = {"name": mark("a file's name"), "size": 40, "mime_type": "text/plain"}
    attachment = await alice.ask({"type": "attachments.create", "params": file})
    upload = urlsplit(attachment["upload_descriptor"]["url"])
    content = mark("a file's content").ljust(40).encode()
    sent = await alice.client.put(f"{upload.path}?{upload.query}", content=content)
    assert sent.status_code == 204, sent.text
    mark.what[upload.query.partition("signature=")[2]] = "a signature"
    await alice.stream(message(thread_id, mark("a message with a file"), attachments=[attachment["id"]]))
    return thread_id


async def go_wrong(alice: Caller, mark: Marks, thread_id: str) -> None:
    """Exceptions that quote the user, out of every method of the server's, and requests that are refused."""
    for word in ("fail", "chain", "save", "refuse"):
        answer = await alice.stream(message(thread_id, f"{word} {mark(f'text of {word}')}"))
        assert answer.end == "failed", word
    await alice.stream(message(thread_id, f"forget {mark('text of a task that nobody waits for')}"))
    action = {"type": mark("an action's type"), "payload": {"x": mark("an action's payload")}}
    params = {"thread_id": thread_id, "action": action}
    assert (await alice.stream({"type": "threads.custom_action", "params": params})).end == "failed"
    failing = [
        {"type": "threads.sync_custom_action", "params": params},
        {"type": "items.feedback", "params": {"thread_id": thread_id, "item_ids": [], "kind": "positive"}},
        {
            "type": "input.transcribe",
            "params": {
                "audio_base64": base64.b64encode(mark("what was said").encode()).decode(),
                "mime_type": mark("a type of audio"),
            },
        },
        {**create(mark("a message without options")), "metadata": {"options fail": mark("metadata")}},
        {
            **create(mark("a message without a context")),
            "metadata": {"context fails": "api", "x": mark("it")},
        },
    ]
    for body in failing:
        response = await alice.post(body)
        assert (response.status_code, response.json()["error"]["code"]) == (500, "internal"), body["type"]
    fails = {"context fails": "worker", "x": mark("metadata of a context that fails in the worker")}
    answer = await alice.stream({**create(mark("another message")), "metadata": fails})
    assert answer.end == "failed"
    for side in ("api", "worker"):
        refuses = {"context refuses": side, "x": mark(f"metadata of a context that refuses in the {side}")}
        plan = {"X-Plan": mark("a header field")}
        response = await alice.post({**create(mark("a refused message")), "metadata": refuses}, plan)
        assert response.status_code == (403 if side == "api" else 200), response.text
    refused: list[Any] = [
        mark("no JSON").encode(),
        {"type": mark("an unknown type")},
        {"type": "threads.get_by_id", "params": {"thread_id": mark("an unknown thread")}},
        {
            "type": "items.feedback",
            "params": {"thread_id": thread_id, "item_ids": [mark("an item's id")], "kind": "positive"},
        },
        {"type": "threads.create", "params": {"input": mark("a wrong input")}},
        message(thread_id, "x", attachments=[mark("an unknown attachment")]),
        create("x" * 2_000_000 + mark("the end of a large body")),
    ]
    for body in refused:
        assert 400 <= (await alice.post(body)).status_code < 500
    bad_token = {"Authorization": f"Bearer {alice.token}{mark('the end of a bad token')}"}
    assert (await alice.post(create("x"), bad_token)).status_code == 401
    assert (await alice.get(f"/{mark('a path')}?q={mark('a query')}")).status_code == 404
    await _speak_no_http(alice, mark)


async def _speak_no_http(alice: Caller, mark: Marks) -> None:
    url = urlsplit(str(alice.client.base_url))
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(f"{mark('what is no HTTP')}\r\n\r\n".encode())
    await reader.read()
    writer.close()
    _, writer = await asyncio.open_connection(url.hostname, url.port)
    head = f"POST /chatkit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\nContent-Length: 999\r\n\r\n"
    writer.write(f"{head}{mark('half a body')}".encode())
    await writer.drain()
    writer.close()


def lines_of(system: Processes) -> list[str]:
    processes = [*system.api_processes, *system.worker_processes]
    return [line for process in processes for line in process.output.splitlines()]


@pytest.mark.parametrize(
    ("of_api", "of_worker"), [("json", "console"), ("console", "json")], ids=["json-console", "console-json"]
)
async def test_no_line_says_what_somebody_wrote(
    settings: Settings, tmp_path: Path, of_api: str, of_worker: str
) -> None:
    """From start to the end of a drain with a run in it, with the caller's token forwarded."""
    (tmp_path / "attachments").mkdir()
    changes = {
        "chatkit_server": "tests.support.servers.leaky_servers:LoudServer",
        "chatkit_context": "tests.support.servers.leaky_servers:context",
        "context_headers": ("x-plan",),
        "attachments_url": f"file://{tmp_path}/attachments",
        "attachments_key": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "forward_token": True,
        "forward_token_key": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "log_level": "debug",
        "drain_seconds": 0,
    }
    loud, mark = settings.model_copy(update=changes), Marks()
    async with running_processes(loud, tmp_path, apis=0, workers=0) as system:
        worker = system.start_worker(LOG_FORMAT=of_worker)
        api = await system.start_api(LOG_FORMAT=of_api)
        alice = await system.caller("alice", "acme")
        thread_id = await converse(alice, mark)
        await go_wrong(alice, mark, thread_id)
        async with alice.open_stream(message(thread_id, f"wait {mark('a message in a drain')}")) as response:
            run_id = response.headers["x-run-id"]
            await wait_until(
                "the worker has the run",
                lambda: any("attempt_start" in line and run_id in line for line in lines_of(system)),
            )
            assert await asyncio.to_thread(worker.terminate) == 0
        await asyncio.to_thread(api.terminate)
    for part in alice.token.split("."):
        mark.what[part] = "a part of a token"
    for name in ("attachments_key", "forward_token_key"):
        mark.what[changes[name]] = name
    assert_nothing_is_told(mark, api.output, worker.output)
    assert_all_was_logged(api.output, worker.output)
    for form, output in ((of_api, api.output), (of_worker, worker.output)):
        assert all(_is_of(form, line) for line in output.splitlines())


def assert_nothing_is_told(mark: Marks, *outputs: str) -> None:
    output = "\n".join(outputs)
    assert len(mark.what) > 30
    assert {what for word, what in mark.what.items() if word in output} == set()
    for word in ("geheim", "input_text", '"params"', "Traceback", "Authorization", "Bearer"):
        assert word not in output


def assert_all_was_logged(of_api: str, of_worker: str) -> None:
    """What went wrong is there all the same, by its type and place."""
    for kind in ("LookupError", "AssertionError", "OSError", "RuntimeError", "ValueError"):
        assert kind in of_api
    for kind in ("ValueError", "RuntimeError", "LookupError", "PydanticSerializationError"):
        assert kind in of_worker
    for action in (
        "worker_start",
        "attempt_start",
        "attempt_end",
        "server_failed",
        "run_failed",
        "worker_drain",
        "worker_stop",
    ):
        assert action in of_worker
    for action in ("api_start", "request_failed", "api_stop"):
        assert action in of_api
    for output in (of_api, of_worker):
        assert "leaky_servers.py" in output


def _is_of(form: str, line: str) -> bool:
    if form == "json":
        return {"event", "level", "timestamp"} <= set(json.loads(line))
    return re.match(r"\d{4}-\d\d-\d\d[T ]", line) is not None
