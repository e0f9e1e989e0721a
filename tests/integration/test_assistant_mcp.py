"""The example assistant with a real MCP server, a process that asks for the caller's token."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from relaykit.examples.assistant import AssistantServer
from relaykit.shared.identity import RequestContext
from tests.support.assistant_support import Chat, MemoryStore, deltas_in
from tests.support.responses_endpoint import responses_endpoint
from tests.support.system import START_SECONDS, WAIT_SECONDS

ROOT = Path(__file__).resolve().parents[2]
TOKENS = {"alice": "token-of-alice", "bob": "token-of-bob"}


@pytest.fixture
async def mcp_url(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ASSISTANT_DELTA_MS", "0")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.mcp_process",
        *(f"{name}={token}" for name, token in TOKENS.items()),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), START_SECONDS)).decode().strip()
        assert url.startswith("http://127.0.0.1:")
        monkeypatch.setenv("ASSISTANT_MCP_URL", url)
        yield url
    finally:
        process.terminate()
        await process.wait()


def as_user(name, token=None):
    return RequestContext(user_id=name, bearer_token=token or TOKENS[name])


async def test_each_run_brings_its_callers_own_token(mcp_url):
    server = AssistantServer(MemoryStore())
    chats = [Chat(server, as_user(name)) for name in ("alice", "bob", "alice")]
    answers = await asyncio.gather(*(chat.answer("call whoami") for chat in chats))
    assert [answer.split("> ")[1] for answer in answers] == [
        "You are alice.",
        "You are bob.",
        "You are alice.",
    ]


@pytest.mark.parametrize("token", ["", "a token that the server does not know"])
async def test_without_a_good_token_the_assistant_answers_without_these_tools(mcp_url, token):
    context = RequestContext(user_id="alice", bearer_token=token or None)
    assert (await Chat(AssistantServer(MemoryStore()), context).answer("call whoami")).startswith("Hello!")


async def test_a_server_that_is_away_does_not_fail_the_run(mcp_url, monkeypatch):
    monkeypatch.setenv("ASSISTANT_MCP_URL", "http://127.0.0.1:9/mcp")
    assert (await Chat(AssistantServer(MemoryStore()), as_user("alice")).answer("hello")).startswith("Hello!")


async def test_a_stop_in_mid_run_closes_the_connection_too(mcp_url, monkeypatch):
    monkeypatch.setenv("ASSISTANT_DELTA_MS", "5")
    chat = Chat(AssistantServer(MemoryStore()), as_user("alice"))
    before = asyncio.all_tasks()
    seen = []
    enough = asyncio.Event()

    async def consume():
        async for event in chat.say_stream("Write a very long answer"):
            seen.append(event)
            if deltas_in(seen[-1:]):
                enough.set()

    consuming = asyncio.create_task(consume())
    await asyncio.wait_for(enough.wait(), WAIT_SECONDS)
    consuming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consuming
    assert asyncio.all_tasks() - before == set()


async def test_the_model_sees_the_tool_and_never_the_token(mcp_url, monkeypatch):
    async with responses_endpoint() as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        await Chat(AssistantServer(MemoryStore()), as_user("alice")).say("Hi there")
        assert "whoami" in {tool["name"] for tool in endpoint.streamed[0]["tools"]}
        assert TOKENS["alice"] not in json.dumps(endpoint.requests)


async def test_a_token_goes_to_no_address_in_the_clear(monkeypatch):
    monkeypatch.setenv("ASSISTANT_MCP_URL", "http://tools.example/mcp")
    with pytest.raises(ValueError, match="ASSISTANT_MCP_URL"):
        AssistantServer(MemoryStore())
