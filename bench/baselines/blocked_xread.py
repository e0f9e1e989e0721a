"""Baseline (c): the relay that is written first: a blocked XREAD, and so a Redis connection, for each client.

Raw ASGI, no authentication, no database: as cheap as that design can be.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import uvicorn
from redis.asyncio import Redis
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from relaykit.api.relay.sse import HEADERS, encode
from relaykit.shared.journal import START, Field, entries
from relaykit.shared.redis import keys

BLOCK_MS = 5_000
READ_ENTRIES = 1_000


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """GET /runs/{id}/events, from the start."""
    assert scope["type"] == "http"
    if scope["path"] == "/readyz":
        await Response()(scope, receive, send)
        return
    journal = keys.journal(scope["path"].split("/")[2])
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
    after = str(START)
    async with Redis.from_url(os.environ["REDIS_URL"], single_connection_client=True) as redis:
        while True:
            found: Any = await redis.xread({journal: after}, count=READ_ENTRIES, block=BLOCK_MS)
            if not found:
                continue
            new = entries(found[0][1])
            after = str(new[-1].cursor)
            body = b"".join(map(encode, new))
            ended = new[-1].field is Field.END
            await send({"type": "http.response.body", "body": body, "more_body": not ended})
            if ended:
                return


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
    )
    sys.exit(0)
