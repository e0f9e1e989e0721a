"""The example assistant in memory, with a real MCP server: a process that asks for the caller's token.

The last test stays on real services, because it looks for the token in their rows, keys and logs.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from agents import add_trace_processor
from agents.tracing import TracingProcessor
from redis.asyncio import Redis

from relaykit import testing
from relaykit.api.local.issuer import LocalIssuer, TokenRequest
from relaykit.examples.assistant import AssistantServer
from relaykit.examples.assistant.settings import AssistantSettings
from tests.support.endpoints.responses_endpoint import responses_endpoint
from tests.support.sites.assistant_support import MemoryStore
from tests.support.system import START_SECONDS, create, running, wait_until

ROOT = Path(__file__).resolve().parents[2]
TOKENS = {"alice": "token-of-alice", "bob": "token-of-bob"}


@pytest.fixture
async def mcp_url(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ASSISTANT_DELTA_MS", "0")
    async with mcp_server(TOKENS) as url:
        monkeypatch.setenv("ASSISTANT_MCP_URL", url)
        yield url


@asynccontextmanager
async def mcp_server(tokens: dict[str, str]) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.endpoints.mcp_process",
        *(f"{name}={token}" for name, token in tokens.items()),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), START_SECONDS)).decode().strip()
        assert url.startswith("http://127.0.0.1:")
        yield url
    finally:
        process.terminate()
        await process.wait()


def as_user(name, token=None):
    """A chat of this user, whose requests bring the token."""
    return testing.chat(AssistantServer, user=name, token=token or TOKENS[name])


async def test_each_run_brings_its_callers_own_token(mcp_url):
    async with as_user("alice") as alice:
        chats = [
            alice,
            alice.beside("bob", token=TOKENS["bob"]),
            alice.beside("alice", token=TOKENS["alice"]),
        ]
        answers = await asyncio.gather(*(chat.say("call whoami") for chat in chats))
    assert [answer.text.split("> ")[1] for answer in answers] == [
        "You are alice.",
        "You are bob.",
        "You are alice.",
    ]


@pytest.mark.parametrize("token", [None, "a token that the server does not know"])
async def test_without_a_good_token_the_assistant_answers_without_these_tools(mcp_url, token):
    async with testing.chat(AssistantServer, token=token) as chat:
        assert (await chat.say("call whoami")).text.startswith("Hello!")


async def test_a_token_that_is_not_forwarded_is_not_there(mcp_url):
    settings = {"forward_token": False}
    async with testing.chat(AssistantServer, token=TOKENS["alice"], settings=settings) as chat:
        assert (await chat.say("call whoami")).text.startswith("Hello!")


async def test_a_server_that_is_away_does_not_fail_the_run(mcp_url, monkeypatch):
    monkeypatch.setenv("ASSISTANT_MCP_URL", "http://127.0.0.1:9/mcp")
    async with as_user("alice") as chat:
        assert (await chat.say("hello")).text.startswith("Hello!")


async def test_a_stop_in_mid_run_closes_the_connection_too(mcp_url, monkeypatch):
    monkeypatch.setenv("ASSISTANT_DELTA_MS", "5")
    async with as_user("alice") as chat:
        before = asyncio.all_tasks()
        answer = await chat.begin("Write a very long answer")
        await answer.until(lambda answer: answer.text)
        assert (await answer.cancel()).status == "cancelled"
        await wait_until("all tasks of the run are gone", lambda: not asyncio.all_tasks() - before)


async def test_the_model_sees_the_tool_and_never_the_token(mcp_url, monkeypatch):
    async with responses_endpoint() as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        async with as_user("alice") as chat:
            await chat.say("Hi there")
        assert "whoami" in {tool["name"] for tool in endpoint.streamed[0]["tools"]}
        assert TOKENS["alice"] not in json.dumps(endpoint.requests)


async def test_a_token_goes_to_no_address_in_the_clear(monkeypatch):
    monkeypatch.setenv("ASSISTANT_MCP_URL", "http://tools.example/mcp")
    with pytest.raises(ValueError, match="ASSISTANT_MCP_URL"):
        AssistantSettings.from_environment()


# --- tools that want to be told who is calling, in arguments


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setenv("ASSISTANT_MCP_CALLER_ARGUMENTS", "user_id, access_token")


async def test_arguments_of_the_caller_are_filled_in_and_hidden_from_the_model(mcp_url, told, monkeypatch):
    """The model is shown the others alone, and what it says in their place counts for nothing."""
    async with responses_endpoint() as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        async with as_user("alice") as chat:
            await chat.say("please call balance")
        tools = {tool["name"]: tool["parameters"] for tool in endpoint.streamed[0]["tools"]}
        assert list(tools["balance"]["properties"]) == tools["balance"]["required"] == ["year"]
        assert tools["careless"]["properties"] == {}
        [output] = outputs(endpoint)
        assert "alice as alice owns 2026 coins." in output
        assert TOKENS["alice"] not in json.dumps(endpoint.requests)


@pytest.mark.parametrize(("tool", "words"), [("careless", "Your token is [hidden]."), ("fails", "Error")])
async def test_a_tool_that_quotes_the_token_does_not_show_it_to_the_model(
    mcp_url, told, monkeypatch, tool, words
):
    async with responses_endpoint() as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        async with as_user("alice") as chat:
            events = (await chat.say(f"please call {tool}")).events
        [output] = outputs(endpoint)
        assert words in output
        assert TOKENS["alice"] not in json.dumps(endpoint.requests) + str(events)


async def test_without_the_setting_a_tool_is_as_its_server_has_it(mcp_url, monkeypatch):
    async with responses_endpoint() as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        async with as_user("alice") as chat:
            await chat.say("Hi there")
        tools = {tool["name"]: tool["parameters"] for tool in endpoint.streamed[0]["tools"]}
        assert set(tools["balance"]["properties"]) == {"year", "user_id", "access_token"}


async def test_an_argument_that_is_none_of_the_callers_is_refused(mcp_url, monkeypatch):
    monkeypatch.setenv("ASSISTANT_MCP_CALLER_ARGUMENTS", "password")
    with pytest.raises(ValueError, match="ASSISTANT_MCP_CALLER_ARGUMENTS"):
        AssistantSettings.from_environment()


def outputs(endpoint):
    """What the model was told that its calls gave."""
    items = [item for request in endpoint.streamed for item in request["input"]]
    return [str(item["output"]) for item in items if item.get("type") == "function_call_output"]


async def test_the_token_reaches_no_model_trace_log_row_or_journal(
    settings, told, monkeypatch, capfd, issuer_key_file
):
    """The example behind the queue, with tools that get the caller's token in an argument and quote it."""
    keyed = {"forward_token": True, "forward_token_key": base64.b64encode(bytes(32)).decode()}
    settings = settings.model_copy(update=keyed)
    request = TokenRequest(sub="alice")
    token = LocalIssuer(settings, issuer_key_file).token(request)
    traces = Traces()
    add_trace_processor(traces)
    async with mcp_server({"alice": token}) as url, responses_endpoint() as endpoint:
        monkeypatch.setenv("ASSISTANT_MCP_URL", url)
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        async with running(settings, lambda: AssistantServer(MemoryStore())) as system:
            alice = await system.caller("alice")
            alice.token = token
            answers = [
                await alice.stream(create(f"please call {tool}")) for tool in ("balance", "careless", "fails")
            ]
            assert [answer.end for answer in answers] == ["completed"] * 3
            shown = b"".join(answer.raw for answer in answers)
            kept = {
                "a model": json.dumps(endpoint.requests),
                "a trace": str(traces.spans),
                "a client": shown.decode(),
                "a row": await asyncio.to_thread(rows_of, settings.database_url),
                "Redis": await keys_of(settings.redis_url),
            }
    kept["a log"] = "".join(capfd.readouterr())
    assert "alice as alice owns 2026 coins." in kept["a model"]
    assert all(kept.values())
    assert {where for where, text in kept.items() if token in text} == set()


class Traces(TracingProcessor):
    """Everything that the agents SDK would export."""

    def __init__(self) -> None:
        self.spans = []

    def on_trace_start(self, trace):
        self.spans.append(trace.export())

    def on_trace_end(self, trace):
        self.spans.append(trace.export())

    def on_span_start(self, span):
        self.spans.append(span.export())

    def on_span_end(self, span):
        self.spans.append(span.export())

    def shutdown(self):
        """Nothing is open."""

    def force_flush(self):
        """Nothing is kept back."""


def rows_of(database_url):
    """Every row of every table, as text."""
    with psycopg.connect(database_url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return "".join(
            str(connection.execute(f'SELECT t::text FROM "{name}" AS t').fetchall()) for (name,) in names
        )


async def keys_of(redis_url):
    """Every key with what is in it."""
    found = []
    async with Redis.from_url(redis_url) as redis:
        async for key in redis.scan_iter():
            found.append(str(await redis.dump(key)))
            if await redis.type(key) == b"stream":
                found.append(str(await redis.xrange(key)))
    return "".join(found)
