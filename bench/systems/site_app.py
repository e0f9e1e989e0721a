"""A site's own application, for CHATKIT_APP: one route that blocks the loop that it runs on."""

from __future__ import annotations

import time

from fastapi import FastAPI

BLOCKED_SECONDS = 3.0

app = FastAPI(openapi_url=None)


@app.get("/blocks")
async def blocks() -> None:
    time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251
