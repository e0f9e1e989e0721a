"""An ASGI app on a real port of loopback, in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from tests.support.system import WAIT_SECONDS


@asynccontextmanager
async def serving(app: Any, *, cuts_answers: bool = False) -> AsyncIterator[str]:
    """The base URL of the app, for as long as the block lasts. Its end waits for open answers, or cuts them."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    server.install_signal_handlers = lambda: None
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not server.started:
                assert not task.done(), "the server ended before it had started"
                await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.force_exit = cuts_answers
        await asyncio.wait_for(task, WAIT_SECONDS)
