"""An MCP server for the tests, as a process that prints its URL.

`python -m tests.support.endpoints.mcp_process NAME=TOKEN ...`
"""

from __future__ import annotations

import asyncio
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"


class RequiresToken:
    """Answers 401 to whatever carries none of the known tokens."""

    def __init__(self, app: ASGIApp, names: dict[str, str]) -> None:
        self.app = app
        self.names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _authorization(scope) not in self.names:
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await self.app(scope, receive, send)


def _authorization(scope: Scope) -> str:
    return dict(scope["headers"]).get(b"authorization", b"").decode()


async def main(names: dict[str, str]) -> None:
    mcp = MCPServer("site")

    @mcp.tool()
    async def whoami(ctx: Context) -> str:
        """Who is asking."""
        return f"You are {names[ctx.request_context.request.headers['authorization']]}."

    @mcp.tool()
    async def balance(year: int, user_id: str, access_token: str) -> str:
        """What the caller owns at the end of a year; wants to be told who that is."""
        return f"{names[f'Bearer {access_token}']} as {user_id} owns {year} coins."

    @mcp.tool()
    async def careless(access_token: str) -> str:
        """Quotes what it was told."""
        return f"Your token is {access_token}."

    @mcp.tool()
    async def fails(access_token: str) -> str:
        """Quotes it in an error."""
        raise ValueError(f"no such token: {access_token}")

    app = RequiresToken(mcp.streamable_http_app(stateless_http=True, json_response=True), names)
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    print(f"http://{HOST}:{port}/mcp", flush=True)
    await serving


if __name__ == "__main__":
    pairs = (argument.split("=", 1) for argument in sys.argv[1:])
    asyncio.run(main({f"Bearer {token}": name for name, token in pairs}))
