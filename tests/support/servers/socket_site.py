"""A site's application with WebSocket routes, good ones and bad ones. Its events are lines of `lively_site.note`."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect
from starlette.responses import JSONResponse

from relaykit import AuthenticatedUser, AuthRequest, RequestContext, current_user, current_user_of
from tests.support.servers.lively_site import FOLDER, HANG_SECONDS, app_lifespan, note

FLOOD_BYTES = 65_536
PAIR_BYTES = 16 * 1_048_576
"""More than the kernel takes at once."""


async def by_name(request: AuthRequest) -> AuthenticatedUser | None:
    """AUTHENTICATE: who X-Name says."""
    note(f"asked {request.method} {request.path}")
    name = request.headers.get("x-name")
    return None if name is None else AuthenticatedUser(user_id=name, valid_seconds=60)


app = FastAPI(lifespan=app_lifespan, openapi_url=None)


@app.get("/plain")
async def plain() -> str:
    return "plain"


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    offered = socket.scope["subprotocols"]
    await socket.accept(
        "chat.v2" if "chat.v2" in offered else None, headers=[(b"x-shelf", socket.state.shelf.encode())]
    )
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                note(f"gone {message['code']}")
                return
            await socket.send({**message, "type": "websocket.send"})
    finally:
        note("echo ended")


@app.websocket("/me")
async def me(socket: WebSocket, user: Annotated[RequestContext, Depends(current_user)]) -> None:
    await socket.accept()
    await socket.send_json({"user": user.user_id, "tenant": user.tenant, "request": user.request_id})
    await socket.close()


@app.websocket("/careless")
async def careless(socket: WebSocket) -> None:
    """As many are written: the disconnect is an exception that nothing catches."""
    await socket.accept()
    note("careless")
    while True:
        await socket.receive_text()


@app.websocket("/flood")
async def flood(socket: WebSocket) -> None:
    await socket.accept()
    number = 0
    try:
        while True:
            await socket.send_bytes(b"x" * FLOOD_BYTES)
            number += 1
            note(f"piece {number}")
    finally:
        note("flood ended")


@app.websocket("/pair")
async def pair(socket: WebSocket) -> None:
    """Two tasks send at the same time."""
    await socket.accept()

    async def send_on() -> None:
        try:
            while True:
                await socket.send_bytes(b"x" * PAIR_BYTES)
                note("part")
        except (OSError, WebSocketDisconnect, RuntimeError) as error:
            note(f"told by {type(error).__name__}")

    await asyncio.gather(send_on(), send_on())


@app.websocket("/slow")
async def slow(socket: WebSocket) -> None:
    """Takes no message before the folder has a file `take`."""
    await socket.accept()
    while not Path(os.environ[FOLDER], "take").exists():
        await asyncio.sleep(0.01)
    count = 0
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            note(f"took {count}")
            return
        count += 1


@app.websocket("/block")
async def block(socket: WebSocket) -> None:
    await socket.accept()
    note("blocks")
    deadline = time.monotonic() + HANG_SECONDS
    while not Path(os.environ[FOLDER], "open").exists() and time.monotonic() < deadline:
        time.sleep(0.005)  # on purpose
    await socket.close()


@app.websocket("/never")
async def never(socket: WebSocket) -> None:
    note("never accepts")
    try:
        await asyncio.Event().wait()
    finally:
        note("never ended")


@app.websocket("/deaf")
async def deaf(socket: WebSocket) -> None:
    """Goes on without its client."""
    await socket.accept()
    note("deaf")
    try:
        await asyncio.Event().wait()
    finally:
        note("deaf ended")


@app.websocket("/fails/{when}")
async def fails(socket: WebSocket, when: str) -> None:
    if when == "after":
        await socket.accept()
    raise RuntimeError("Geheim7391")


@app.websocket("/exits")
async def exits(socket: WebSocket) -> None:
    await socket.accept()
    raise SystemExit("Geheim7391")


@app.websocket("/returns")
async def returns(socket: WebSocket) -> None:
    await socket.accept()


@app.websocket("/denies")
async def denies(socket: WebSocket) -> None:
    await socket.send_denial_response(
        JSONResponse({"why": "full"}, status_code=429, headers={"retry-after": "7"})
    )


@app.websocket("/closes/{code}")
async def closes(socket: WebSocket, code: int) -> None:
    await socket.accept()
    await socket.close(code, "enough")


@app.websocket("/sends-on")
async def sends_on(socket: WebSocket) -> None:
    """Until its client has gone, which it learns by an OSError alone."""
    await socket.accept()
    try:
        while True:
            await socket.send_text("still here")
            await asyncio.sleep(0.01)
    except (OSError, WebSocketDisconnect) as error:
        note(f"told by {type(error).__name__}")


@app.websocket("/chatkit")
@app.websocket("/runs/all")
async def hidden(socket: WebSocket) -> None:
    await socket.accept()
    raise AssertionError("it is never reached")


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Without a framework."""
    assert scope["type"] == "websocket"
    assert "method" not in scope
    await receive()
    match scope["path"]:
        case "/me":
            user = await current_user_of(scope)
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": user.user_id})
            await send({"type": "websocket.close"})
        case "/silent":
            return
        case "/sends-first":
            await send({"type": "websocket.send", "text": "too early"})
        case "/bad-header":
            await send({"type": "websocket.accept", "headers": [(b"x-a", b"b\r\nset-cookie: c=d")]})
        case "/bad-subprotocol":
            await send({"type": "websocket.accept", "subprotocol": "a\r\nset-cookie: c=d"})
        case "/nonsense":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.nonsense"})
        case "/bad-code":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 99})
        case "/breaks":
            await send({"type": "websocket.http.response.start", "status": 200, "headers": []})
            raise RuntimeError("Geheim7391")
