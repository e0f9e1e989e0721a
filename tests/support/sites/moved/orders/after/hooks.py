"""What Relaykit asks of the shop: what is opened, who is calling, what the server is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from chat import OrderServer
from database import Shop, customer_of, customers, opened
from sqlalchemy import select
from store import SqlStore

from relaykit import AuthenticatedUser, AuthRequest, RequestContext, SiteProcess, ThreadSource


@asynccontextmanager
async def lifespan(process: SiteProcess) -> AsyncIterator[None]:
    async with opened():
        yield


async def authenticate(request: AuthRequest) -> AuthenticatedUser | None:
    customer_id = await customer_of(request.headers.get("authorization", "").removeprefix("Bearer "))
    return AuthenticatedUser(user_id=customer_id) if customer_id else None


def context(request: RequestContext) -> dict[str, Any]:
    return {"customer_id": request.user_id}


def on_the_shops_store() -> OrderServer:
    return OrderServer(SqlStore())


async def threads() -> AsyncIterator[ThreadSource]:
    async with opened():
        async with Shop.engine.connect() as connection:
            everybody = list(await connection.scalars(select(customers.c.id)))
        for customer_id in everybody:
            yield ThreadSource(store=SqlStore(), user_id=customer_id, context={"customer_id": customer_id})
