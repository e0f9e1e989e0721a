"""The lounge's application: the chat, and the route that the dashboard asks for its cat."""

from __future__ import annotations

from typing import Annotated, Any

from app.server import LoungeServer, create_chatkit_server
from chatkit.store import NotFoundError
from fastapi import Depends, FastAPI, HTTPException

from relaykit import RequestContext, current_user

app = FastAPI()
chatkit_server = create_chatkit_server()


def get_server() -> LoungeServer:
    return chatkit_server


@app.get("/cats/{thread_id}")
async def read_cat(
    thread_id: str,
    user: Annotated[RequestContext, Depends(current_user)],
    server: LoungeServer = Depends(get_server),
) -> dict[str, Any]:
    try:
        await server.store.load_thread(thread_id, user)
    except NotFoundError as error:
        raise HTTPException(404) from error
    return {"cat": (await server.cat_store.load(thread_id)).to_payload()}
