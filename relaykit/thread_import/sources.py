"""The stores that an import reads, as the site's module gives them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from chatkit.store import Store
from chatkit.types import Attachment

from relaykit.shared.errors import SettingsError
from relaykit.shared.identity import RequestContext
from relaykit.shared.owner import Owner

MAX_NAME_CHARS = 255
"""Of a user's or a tenant's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadSource:
    """One user's threads in a store that is not Relaykit's.

    `user_id` and `tenant` are whose the threads become: what the tokens of that user have in `sub` and in the claim
    that JWT_TENANT_CLAIM names. `context` is what the store's methods take as `context`; without it they get the
    RequestContext of the user. `read_attachment` gives the bytes of a file, or None where they are not to be had;
    without it the attachments keep the addresses that they have.

    Raises ValueError for a name that no token can have, TypeError where `store` is no chatkit.store.Store.
    """

    store: Store[Any]
    user_id: str
    tenant: str | None = None
    context: Any = None
    read_attachment: Callable[[Attachment], Awaitable[bytes | None]] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.store, Store):
            raise TypeError(f"store is a {type(self.store).__name__}, not a chatkit.store.Store")
        for name, value in (("user_id", self.user_id), ("tenant", self.tenant)):
            if value is None and name == "tenant":
                continue
            if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS or not value.isprintable():
                raise ValueError(f"{name} has 1 to {MAX_NAME_CHARS} printable characters")

    @property
    def owner(self) -> Owner:
        """Whose the threads become."""
        return Owner(tenant=self.tenant or "", user_id=self.user_id)

    @property
    def store_context(self) -> Any:
        """What the store's methods get."""
        return (
            RequestContext(user_id=self.user_id, tenant=self.tenant) if self.context is None else self.context
        )


async def sources_of(found: Any, *, user_id: str | None, tenant: str | None) -> AsyncIterator[ThreadSource]:
    """The sources that the site's attribute gives: a store, or a function of one, or of sources.

    Raises SettingsError where it gives something else, or a store comes without a user.
    """
    given = found() if callable(found) and not isinstance(found, Store) else found
    if inspect.isawaitable(given):
        given = await given
    if isinstance(given, Store):
        if user_id is None:
            raise SettingsError(
                "a store is read as one user: --user says who, or a function yields ThreadSource"
            )
        yield ThreadSource(store=given, user_id=user_id, tenant=tenant)
        return
    if user_id is not None or tenant is not None:
        raise SettingsError("--user and --tenant go with a store; a ThreadSource has its own")
    if isinstance(given, AsyncIterable):
        async for source in given:
            yield _checked(source)
    elif isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
        for source in given:
            yield _checked(source)
    else:
        yield _checked(given)


def _checked(source: Any) -> ThreadSource:
    if not isinstance(source, ThreadSource):
        raise SettingsError(f"gave a {type(source).__name__}, not a Store or a ThreadSource")
    return source
