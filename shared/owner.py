"""The owner: whose a thread, an item, a run or an attachment is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


class Caller(Protocol):
    """An authenticated caller: a request context, or the identity that it comes from."""

    @property
    def user_id(self) -> str: ...
    @property
    def tenant(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A user of a tenant, as the rows name them. A query with an owner finds nothing of any other owner.

    The two texts are given by name, because nothing would notice them in the wrong order.
    """

    tenant: str
    """Empty for a caller without a tenant: all of those are of one tenant, the empty one."""
    user_id: str

    @classmethod
    def of(cls, caller: Caller) -> Owner:
        return cls(tenant=caller.tenant or "", user_id=caller.user_id)

    def __iter__(self) -> Iterator[str]:
        """Tenant and user: the order in which every statement takes them, so that `*owner` are its parameters."""
        return iter((self.tenant, self.user_id))

    @property
    def digest(self) -> str:
        """The owner in a Redis key. The key does not tell who it is."""
        text = f"{self.tenant}\x1f{self.user_id}"
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
