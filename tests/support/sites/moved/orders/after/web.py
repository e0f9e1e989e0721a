"""The shop's application, without its route for the chat."""

from __future__ import annotations

from typing import Annotated

from database import articles_of
from fastapi import Depends, FastAPI

from relaykit import RequestContext, current_user

app = FastAPI()


@app.get("/orders")
async def orders(user: Annotated[RequestContext, Depends(current_user)]) -> list[str]:
    return await articles_of(user.user_id)
