"""A site with a lifespan and an application of its own, whose events are lines of a file: LIVELY_SITE names its folder.

A file of that folder named after a place, such as `enter`, makes it fail there: its text says how.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.store import Store
from chatkit.types import ThreadMetadata, ThreadStreamEvent, UserMessageItem
from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse

from relaykit import RequestContext, SiteProcess, current_user, current_user_of
from tests.support.servers.relay_servers import ScriptedAnswers

FOLDER = "LIVELY_SITE"
HANG_SECONDS = 60


def note(line: str) -> None:
    with Path(os.environ[FOLDER], "events").open("a") as file:
        file.write(f"{line}\n")


def noted() -> list[str]:
    file = Path(os.environ[FOLDER], "events")
    return file.read_text().splitlines() if file.exists() else []


async def misbehave(place: str) -> None:
    file = Path(os.environ[FOLDER], place)
    match file.read_text() if file.exists() else "":
        case "raise":
            raise RuntimeError("Geheim7391")
        case "exit":
            raise SystemExit("Geheim7391")
        case "hang":
            note(f"{place} hangs")
            await asyncio.sleep(HANG_SECONDS)
        case "cling":
            note(f"{place} clings")
            while file.exists():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.05)
        case "block":
            note(f"{place} blocks")
            time.sleep(HANG_SECONDS)  # on purpose


class Pool:
    """A client that belongs to the loop it was made on."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_open = True

    def use(self) -> str:
        assert asyncio.get_running_loop() is self.loop, "used on another loop"
        assert self.is_open, "used after its end"
        return "pool"


pools: list[Pool] = []
"""Of one process the newest last; a test that runs both sides in one has several."""


class LivelyServer(ScriptedAnswers):
    def __init__(self, store: Store[Any]) -> None:
        super().__init__(store)
        self.pool = pools[-1]

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        self.pool.use()
        async for event in super().respond(thread, input_user_message, context):
            yield event
        note("answered")


@asynccontextmanager
async def lifespan(process: SiteProcess) -> AsyncIterator[None]:
    await misbehave("enter")
    assert isinstance(process.settings.max_runs, int)
    pool = Pool()
    pools.append(pool)
    note(f"{process.role} entered")
    yield
    await misbehave("leave")
    pool.is_open = False
    pools.remove(pool)
    note(f"{process.role} left")


async def undecorated(process: SiteProcess) -> AsyncIterator[ChatKitServer[Any]]:
    async with lifespan(process):
        yield LivelyServer(process.store)


@asynccontextmanager
async def of_nothing(process: SiteProcess) -> AsyncIterator[int]:
    yield 3


@asynccontextmanager
async def never_yields(process: SiteProcess) -> AsyncIterator[None]:
    if process.role == "neither":
        yield


@asynccontextmanager
async def with_a_task(process: SiteProcess) -> AsyncIterator[ChatKitServer[Any]]:
    """Ends by itself once a task of it fails, as a task group has it."""

    async def refresh() -> None:
        while not Path(os.environ[FOLDER], "refresh").exists():
            await asyncio.sleep(0.01)
        raise RuntimeError("Geheim7391")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(refresh())
        pools.append(Pool())
        note(f"{process.role} entered")
        yield LivelyServer(process.store)


def not_a_manager(process: SiteProcess) -> int:
    return 3


async def async_factory(store: Store[Any]) -> ChatKitServer[Any]:
    await misbehave("enter")
    await asyncio.sleep(0)
    pools.append(Pool())
    return LivelyServer(store)


async def async_factory_of_nothing(store: Store[Any]) -> None:
    return None


@asynccontextmanager
async def managed_factory(store: Store[Any]) -> AsyncIterator[ChatKitServer[Any]]:
    pools.append(Pool())
    note("factory entered")
    yield LivelyServer(store)
    note("factory left")


# --- the application


@asynccontextmanager
async def app_lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    await misbehave("app_enter")
    note("app entered")
    yield {"shelf": "oak"}
    await misbehave("app_leave")
    note("app left")


app = FastAPI(lifespan=app_lifespan, openapi_url="/shop/openapi.json")


@app.middleware("http")
async def marked(request: Request, call_next: Any) -> Any:
    note(f"middleware {request.url.path}")
    response = await call_next(request)
    response.headers["x-site"] = "1"
    return response


@app.get("/orders")
async def orders(request: Request) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    ours = next((pool for pool in pools if pool.loop is loop), None)
    return {"shelf": request.state.shelf, "pool": ours and ours.use()}


@app.get("/me")
async def me(user: RequestContext = Depends(current_user)) -> dict[str, Any]:
    return {"user": user.user_id, "tenant": user.tenant, "claims": dict(user.claims)}


@app.get("/block/{seconds}")
async def block(seconds: float) -> str:
    note("block begins")
    time.sleep(seconds)  # on purpose
    note("block ends")
    return threading.current_thread().name


@app.get("/blocked-until/{name}")
async def blocked_until(name: str) -> str:
    """Blocks until the folder has a file of this name."""
    note(f"{name} is awaited")
    deadline = time.monotonic() + HANG_SECONDS
    while not Path(os.environ[FOLDER], name).exists() and time.monotonic() < deadline:
        time.sleep(0.005)  # on purpose
    return name


@app.post("/length")
async def length(request: Request) -> dict[str, int]:
    pieces = [len(piece) async for piece in request.stream()]
    return {"bytes": sum(pieces)}


class Endless(StreamingResponse):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            note("stream ended")


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        number = 0
        while True:
            note(f"piece {number}")
            yield b"x" * 65_536
            number += 1

    return Endless(pieces())


async def waits(scope: Any, receive: Any, send: Any) -> None:
    """Never answers, and says that it was cancelled."""
    assert scope["type"] == "http"
    note("waits")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note("cancelled")
        raise


@app.get("/fails")
async def fails() -> None:
    raise RuntimeError("Geheim7391")


@app.get("/exits")
async def exits() -> None:
    raise SystemExit("Geheim7391")


@app.get("/chatkit")
@app.get("/healthz")
@app.get("/runs/all")
async def hidden() -> None:
    raise AssertionError("it is never reached")


async def plain(scope: Any, receive: Any, send: Any) -> None:
    """An application without a framework and without a lifespan."""
    assert scope["type"] == "http"
    match scope["path"]:
        case "/silent":
            return
        case "/fails":
            raise RuntimeError("Geheim7391")
        case "/breaks":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            await send({"type": "http.response.body", "body": b"abc", "more_body": True})
            raise RuntimeError("Geheim7391")
        case "/nonsense":
            await send({"type": "http.response.start", "status": "ok", "headers": [("a", "b\r\nc")]})
    user = await current_user_of(scope)
    body = user.user_id.encode()
    head = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


asking = FastAPI()


@asking.get("/asks")
async def asks(request: Request) -> None:
    """Works until its client has gone, as it finds by asking."""
    note("asks")
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    note("heard")


async def deaf(scope: Any, receive: Any, send: Any) -> None:
    """Takes every scope for a request."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
    await receive()


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []
