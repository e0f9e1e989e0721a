"""AUTHENTICATE as sites write it, good and bad ones."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import HTTPException

from relaykit import AuthenticatedUser, AuthRequest
from tests.support.servers.blocking_site import block

SESSIONS = {"s-alice": ("alice", "acme"), "s-bob": ("bob", "acme")}
CALLS: list[str] = []
"""The sessions that `by_session` was asked about, in this process."""


async def by_session(request: AuthRequest) -> AuthenticatedUser | None:
    session = request.cookies.get("session", "")
    CALLS.append(session)
    await asyncio.sleep(0.05)
    if session == "s-banned":
        raise HTTPException(403, "You are banned.")
    if session not in SESSIONS:
        return None
    user, tenant = SESSIONS[session]
    return AuthenticatedUser(
        user_id=user, tenant=tenant, tier="gold", claims={"session": session}, token=f"token-of-{user}"
    )


async def by_header(request: AuthRequest) -> AuthenticatedUser | None:
    """A gateway in front says who it is; an administrator may act as another."""
    user = request.headers.get("X-User")
    if user == "root":
        user = request.headers.get("x-act-as", "root")
    return AuthenticatedUser(user_id=user) if user else None


async def for_a_second(request: AuthRequest) -> AuthenticatedUser:
    CALLS.append("second")
    return AuthenticatedUser(user_id="alice", valid_seconds=1)


async def raises(request: AuthRequest) -> None:
    raise RuntimeError("secret")


async def leaves(request: AuthRequest) -> None:
    sys.exit(0)


async def hangs(request: AuthRequest) -> None:
    CALLS.append("hangs")
    await asyncio.sleep(3600)


async def blocks(request: AuthRequest) -> AuthenticatedUser:
    if request.headers.get("x-blocks"):
        block("authenticate")
    return AuthenticatedUser(user_id="alice")


async def gives_a_name(request: AuthRequest) -> Any:
    return "alice"


async def gives_true(request: AuthRequest) -> Any:
    return True


async def gives_nobody(request: AuthRequest) -> AuthenticatedUser:
    return AuthenticatedUser(user_id="")


async def gives_claims_that_are_no_json(request: AuthRequest) -> AuthenticatedUser:
    return AuthenticatedUser(user_id="alice", claims={"x": object()})


async def redirects(request: AuthRequest) -> None:
    raise HTTPException(302, headers={"location": "/login"})


async def gives_a_broken_token(request: AuthRequest) -> AuthenticatedUser:
    return AuthenticatedUser(user_id="alice", token="\ud800")


async def gives_claims_that_grow(request: AuthRequest) -> AuthenticatedUser:
    claims = {"x": "y"}
    user = AuthenticatedUser(user_id="alice", claims=claims)
    claims["x"] = "y" * 1_000_000
    return user


THREADS: set[int] = set()
"""The threads that have run code of `Lazy`."""


class Lazy(Mapping[str, str]):
    """Claims that are read when they are asked for, from a database for instance."""

    def __getitem__(self, name: str) -> str:
        THREADS.add(threading.get_ident())
        return "value"

    def __iter__(self) -> Iterator[str]:
        THREADS.add(threading.get_ident())
        return iter(["claim"])

    def __len__(self) -> int:
        return 1


async def gives_lazy_claims(request: AuthRequest) -> AuthenticatedUser:
    return AuthenticatedUser(user_id="alice", claims=Lazy())


WAITING: dict[str, asyncio.Event] = {}
"""By API key: what a call of `by_key` waits for."""


async def by_key(request: AuthRequest) -> AuthenticatedUser | None:
    key = request.headers.get("x-api-key", "")
    if key in WAITING:
        CALLS.append(key)
        door = WAITING[key]
        while not door.is_set():
            await asyncio.sleep(0.01)
    return AuthenticatedUser(user_id=key) if key else None


def not_async(request: AuthRequest) -> AuthenticatedUser:
    return AuthenticatedUser(user_id="alice")


async def takes_nothing() -> None:
    return None


class Signed:
    """An object that is called."""

    async def __call__(self, request: AuthRequest) -> AuthenticatedUser:
        return AuthenticatedUser(user_id="alice")


signed = Signed()
number = 7
