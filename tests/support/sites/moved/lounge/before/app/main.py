"""The lounge's application: the chat, and the route that the dashboard asks for its cat."""

from __future__ import annotations

from typing import Any

from chatkit.server import StreamingResult
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from app.server import LoungeServer, create_chatkit_server

app = FastAPI()
chatkit_server = create_chatkit_server()


def get_server() -> LoungeServer:
    return chatkit_server


@app.post("/chatkit")
async def chatkit(request: Request, server: LoungeServer = Depends(get_server)) -> Response:
    result = await server.process(await request.body(), {"request": request})
    if isinstance(result, StreamingResult):
        return StreamingResponse(result, media_type="text/event-stream")
    return Response(content=result.json, media_type="application/json")


@app.get("/cats/{thread_id}")
async def read_cat(thread_id: str, server: LoungeServer = Depends(get_server)) -> dict[str, Any]:
    return {"cat": (await server.cat_store.load(thread_id)).to_payload()}
