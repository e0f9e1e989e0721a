"""Tools of an MCP server that knows who is asking: each run brings its caller's own token."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from agents import Agent, AgentBase, RunContextWrapper
from agents.mcp import MCPServerManager, MCPServerStreamableHttp
from mcp.types import CallToolResult, TextContent, Tool

from relaykit import RequestContext
from relaykit.examples.assistant.settings import AssistantSettings
from relaykit.examples.assistant.turn import Turn

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 5.0
HIDDEN = "[hidden]"


class CallersTools(MCPServerStreamableHttp):
    """Tools that want to be told who is calling, in arguments: the model never sees those, nor what is in them.

    The arguments are left out of each tool's schema, and put in when the tool is called, over whatever the model has
    said in their place. Where a tool's answer or its error quotes the token, the model reads HIDDEN.
    """

    def __init__(self, url: str, token: str, arguments: Mapping[str, str]) -> None:
        super().__init__(name="site", params={"url": url, "headers": {"Authorization": f"Bearer {token}"}})
        self._token = token
        self._arguments = arguments
        self._wanted: dict[str, dict[str, str]] = {}

    async def list_tools(
        self, run_context: RunContextWrapper[Any] | None = None, agent: AgentBase | None = None
    ) -> list[Tool]:
        tools = await super().list_tools(run_context, agent)
        for tool in tools:
            declared = tool.input_schema.get("properties", {})
            self._wanted[tool.name] = {
                name: value for name, value in self._arguments.items() if name in declared
            }
        return [_without(tool, self._wanted[tool.name]) for tool in tools]

    async def call_tool(
        self, tool_name: str, arguments: dict[str, Any] | None, meta: dict[str, Any] | None = None
    ) -> CallToolResult:
        told = {**(arguments or {}), **self._wanted.get(tool_name, {})}
        try:
            result = await super().call_tool(tool_name, told, meta)
        except Exception as error:
            if self._token in str(error):
                raise RuntimeError(str(error).replace(self._token, HIDDEN)) from None
            raise
        return self._scrubbed(result)

    def _scrubbed(self, result: CallToolResult) -> CallToolResult:
        text = result.model_dump_json()
        if self._token not in text:
            return result
        content = [
            part.model_copy(update={"text": part.text.replace(self._token, HIDDEN)})
            if isinstance(part, TextContent)
            else part
            for part in result.content
        ]
        kept = result.model_copy(update={"content": content, "structured_content": None})
        if self._token in kept.model_dump_json():
            return CallToolResult(content=[TextContent(type="text", text=HIDDEN)], is_error=result.is_error)
        return kept


def _without(tool: Tool, hidden: Collection[str]) -> Tool:
    """The tool as the model is shown it."""
    if not hidden:
        return tool
    schema = dict(tool.input_schema)
    schema["properties"] = {
        name: value for name, value in schema.get("properties", {}).items() if name not in hidden
    }
    schema["required"] = [name for name in schema.get("required", []) if name not in hidden]
    return tool.model_copy(update={"input_schema": schema})


@asynccontextmanager
async def with_mcp_tools(
    agent: Agent[Turn], settings: AssistantSettings, context: RequestContext
) -> AsyncIterator[Agent[Turn]]:
    """The agent with the tools at ASSISTANT_MCP_URL, for this run alone.

    The token travels in a header, so that neither the model nor the history ever holds it, and in an argument where
    ASSISTANT_MCP_CALLER_ARGUMENTS says so. Without a token (FORWARD_TOKEN=false), or when the server is away, the agent
    works without these tools.
    """
    if settings.mcp_url is None or not context.bearer_token:
        yield agent
        return
    known = {
        "user_id": context.user_id,
        "tenant": context.tenant or "",
        "access_token": context.bearer_token,
    }
    arguments = {name: known[name] for name in settings.mcp_caller_arguments}
    server = CallersTools(settings.mcp_url, context.bearer_token, arguments)
    # A task of its own connects and closes: respond() is a generator, and its caller may end it from another one.
    async with MCPServerManager(
        [server], connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS, connect_in_parallel=True
    ) as manager:
        for error in manager.errors.values():
            logger.warning("the MCP server is left out of this run: %s", type(error).__name__)
        yield agent.clone(mcp_servers=manager.active_servers)
