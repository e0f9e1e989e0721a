"""Roles of PostgreSQL that may have few connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql


@contextmanager
def limited_role(database_url: str, connections: int) -> Iterator[str]:
    """The database's URL with a role that may have so many connections, and do what the URL's own may."""
    name = f"limited_{uuid4().hex[:12]}"
    role = sql.Identifier(name)
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret' CONNECTION LIMIT {} IN ROLE {}").format(
                role, connections, sql.Identifier(owner.info.user)
            )
        )
        parts = urlsplit(database_url)
        try:
            yield urlunsplit(parts._replace(netloc=f"{name}:secret@{parts.netloc.rpartition('@')[2]}"))
        finally:
            owner.execute(sql.SQL("DROP ROLE {}").format(role))


def limit(database_url: str, role_url: str, connections: int) -> None:
    """Changes how many connections the role of `role_url` may have."""
    role = sql.Identifier(urlsplit(role_url).username or "")
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(role, connections))
