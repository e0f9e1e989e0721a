"""Nothing that a user, a model or an issuer wrote reaches a log, at the most talkative level, in either form."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from shared.settings import Settings
from tests.system import Caller, Processes, create, message, running_processes, wait_until

SECRET = "s3cret"


def secret(kind: str) -> str:
    """Unlike anything else in the output; what follows the prefix says where a leak came from."""
    return f"{SECRET}-{kind}-{uuid4().hex[:6]}"


async def converse(caller: Caller) -> None:
    """Every way in which a client's words come in, and several in which they go wrong."""
    caller.headers["Accept-Language"] = "de"
    metadata = {"userInfo": {"name": secret("metadata")}}
    answer = await caller.stream({**create(secret("message")), "metadata": metadata})
    assert answer.end == "completed"
    thread_id = answer.thread_id
    failed = await caller.stream({**message(thread_id, "fail " + secret("exception")), "metadata": metadata})
    assert failed.end == "failed"
    await caller.stream(message(thread_id, "tool " + secret("arguments")))
    output = {"thread_id": thread_id, "result": {"found": secret("tool-output")}}
    await caller.stream({"type": "threads.add_client_tool_output", "params": output})
    action = {"type": secret("action"), "payload": {"to": secret("payload")}}
    params = {"thread_id": thread_id, "action": action}
    assert (await caller.stream({"type": "threads.custom_action", "params": params})).end == "failed"
    assert (await caller.post({"type": "threads.sync_custom_action", "params": params})).status_code == 500
    titled = {"thread_id": thread_id, "title": secret("title")}
    await caller.ask({"type": "threads.update", "params": titled})
    await send_what_is_refused(caller, thread_id)


async def send_what_is_refused(caller: Caller, thread_id: str) -> None:
    refused = [
        ('{"type": "' + secret("not-json")).encode(),
        {"type": secret("type"), "params": {}},
        {"type": "threads.list", "params": {"order": secret("field")}},
        message(secret("thread-id"), secret("unknown-thread")),
        message(thread_id, secret("attachment"), attachments=[secret("attachment-id")]),
        {"type": "threads.list", "params": {"after": secret("after")}},
        {"type": "input.transcribe", "params": {"audio_base64": "c2VjcmV0", "mime_type": secret("mime")}},
        {
            "type": "attachments.create",
            "params": {"name": secret("name"), "size": 5, "mime_type": secret("mime")},
        },
    ]
    for request in refused:
        response = await caller.post(request)
        assert 400 <= response.status_code < 500, response.text
    good, caller.token = caller.token, f"{caller.token}x"
    assert (await caller.post(create(secret("unauthenticated")))).status_code == 401
    caller.token = good
    assert (await caller.get(f"/runs/{secret('run-id')}")).status_code == 404
    assert (await caller.get(f"/threads/{secret('thread-path')}/run")).status_code == 204


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_no_word_of_a_user_and_no_token_is_logged(
    settings: Settings, tmp_path: Path, log_format: str
) -> None:
    environment = {
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": log_format,
        "CHATKIT_SERVER": "tests.log_servers:SecretServer",
        "FORWARD_TOKEN": "true",
        "FORWARD_TOKEN_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    }
    async with running_processes(settings, tmp_path, **environment) as system:
        caller = await system.caller()
        token = caller.token
        await converse(caller)
        await wait_until(
            "the worker has logged its runs", lambda: output_of(system).count("attempt_end") >= 5
        )
        for process in [*system.api_processes, *system.worker_processes]:
            process.terminate()
        output = output_of(system)
    assert "attempt_start" in output, "the logs of the processes were not seen"
    assert SECRET not in output, [line for line in output.splitlines() if SECRET in line]
    for part in token.split("."):
        assert part not in output, "a part of a token is in a log"
    assert "MDEyMzQ1Njc4" not in output
    assert "Traceback" not in output


def output_of(system: Processes) -> str:
    return "".join(process.output for process in [*system.api_processes, *system.worker_processes])
