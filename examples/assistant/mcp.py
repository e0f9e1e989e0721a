"""Tools of an MCP server that knows who is asking: each run brings its caller's own token."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agents import Agent
from agents.mcp import MCPServerManager, MCPServerStreamableHttp

from relaykit import RequestContext
from relaykit.examples.assistant.turn import Turn

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 5.0


@asynccontextmanager
async def with_mcp_tools(
    agent: Agent[Turn], url: str | None, context: RequestContext
) -> AsyncIterator[Agent[Turn]]:
    """The agent with the tools at `url`, for this run alone.

    The token travels in a header, so that neither the model nor the history ever holds it. Without a token
    (FORWARD_TOKEN=false), or when the server is away, the agent works without these tools.
    """
    if url is None or not context.bearer_token:
        yield agent
        return
    server = MCPServerStreamableHttp(
        name="site",
        params={"url": url, "headers": {"Authorization": f"Bearer {context.bearer_token}"}},
    )
    # A task of its own connects and closes: respond() is a generator, and its caller may end it from another one.
    async with MCPServerManager(
        [server], connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS, connect_in_parallel=True
    ) as manager:
        for error in manager.errors.values():
            logger.warning("the MCP server is left out of this run: %s", type(error).__name__)
        yield agent.clone(mcp_servers=manager.active_servers)
