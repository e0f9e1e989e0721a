"""The shop's database: its customers and their orders, and the chat's threads and items."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    select,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

metadata = MetaData()
customers = Table(
    "customers", metadata, Column("id", Text, primary_key=True), Column("api_key", Text, unique=True)
)
orders = Table(
    "orders",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("customer_id", ForeignKey("customers.id")),
    Column("article", Text),
)
threads = Table(
    "chat_threads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("place", BigInteger, Identity()),
    Column("customer_id", Text),
    Column("data", Text),
)
items = Table(
    "chat_items",
    metadata,
    Column("thread_id", ForeignKey("chat_threads.id", ondelete="CASCADE")),
    Column("id", Text),
    Column("place", BigInteger, Identity()),
    Column("data", Text),
    PrimaryKeyConstraint("thread_id", "id"),
)


class Shop:
    """What the application opens at its start."""

    engine: AsyncEngine


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    Shop.engine = create_async_engine(os.environ["SHOP_DATABASE_URL"])
    try:
        yield
    finally:
        await Shop.engine.dispose()


async def customer_of(api_key: str) -> str | None:
    async with Shop.engine.connect() as connection:
        return await connection.scalar(select(customers.c.id).where(customers.c.api_key == api_key))


async def articles_of(customer_id: str) -> list[str]:
    query = select(orders.c.article).where(orders.c.customer_id == customer_id).order_by(orders.c.id)
    async with Shop.engine.connect() as connection:
        return list(await connection.scalars(query))
