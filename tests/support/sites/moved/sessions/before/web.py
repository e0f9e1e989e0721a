"""A site whose members sign in with a form; Starlette keeps the session in a signed cookie."""

from __future__ import annotations

import os
from typing import Annotated, Any

from chat import MemberServer
from chatkit.server import StreamingResult
from fastapi import FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from memory_store import MemoryStore
from starlette.middleware.sessions import SessionMiddleware

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key=os.environ["SESSION_SECRET"])
server = MemberServer(MemoryStore())


@app.post("/login")
async def login(request: Request, user: Annotated[str, Form()]) -> None:
    request.session["user"] = user


@app.post("/logout")
async def logout(request: Request) -> None:
    request.session.clear()


@app.get("/me")
async def me(request: Request) -> dict[str, Any]:
    return {"user": request.session.get("user")}


@app.post("/chatkit")
async def chatkit(request: Request) -> Response:
    if "user" not in request.session:
        raise HTTPException(401)
    result = await server.process(await request.body(), {"user_id": request.session["user"]})
    if isinstance(result, StreamingResult):
        return StreamingResponse(result, media_type="text/event-stream")
    return Response(content=result.json, media_type="application/json")
