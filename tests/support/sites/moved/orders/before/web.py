"""The shop's application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from chat import OrderServer
from chatkit.server import StreamingResult
from database import articles_of, customer_of, opened
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from store import SqlStore


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with opened():
        yield


app = FastAPI(lifespan=lifespan)
server = OrderServer(SqlStore())


async def customer(authorization: Annotated[str, Header()] = "") -> str:
    found = await customer_of(authorization.removeprefix("Bearer "))
    if found is None:
        raise HTTPException(401)
    return found


Customer = Annotated[str, Depends(customer)]


@app.post("/chatkit")
async def chatkit(request: Request, customer_id: Customer) -> Response:
    result = await server.process(await request.body(), {"customer_id": customer_id})
    if isinstance(result, StreamingResult):
        return StreamingResponse(result, media_type="text/event-stream")
    return Response(content=result.json, media_type="application/json")


@app.get("/orders")
async def orders(customer_id: Customer) -> list[str]:
    return await articles_of(customer_id)
