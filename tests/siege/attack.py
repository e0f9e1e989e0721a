"""The attacks, each with what has to hold while it goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tests.siege.request_attacks import FLOOD_RUN_SECONDS

SLOWER_MS: Final = 250.0
"""So much longer than the median without an attack may a client wait."""
MEMORY: Final = 1.5
"""So many times what it holds without an attack may a process hold."""
REDIS_MB: Final = 24.0
"""By so much may Redis grow: one and a half times the bytes that one caller may send in a minute."""
DESCRIPTORS: Final = 256
"""The limit of the API process that the attack `descriptors` is made on."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attack. It runs as `name` in a process of its own."""

    name: str
    expects: tuple[str, ...] = ()
    """Beginnings of answers that have to be among those given, each with its alternatives between bars."""
    forbids: tuple[str, ...] = ()
    """Beginnings of answers that must not be given."""
    first_ms: float = SLOWER_MS
    """So much longer may the first word take."""
    descriptors: int | None = None
    """The attack is made on an API process of its own that has this limit of descriptors, and that may answer new
    connections with 503."""
    parts: tuple[Attack, ...] = ()
    """The attacks that this one is made of, each in a process of its own. Without any it is one by itself."""

    @property
    def each(self) -> tuple[Attack, ...]:
        return self.parts or (self,)


ATTACKS: Final = (
    Attack(name="head-lines", expects=("431 head_too_large",)),
    Attack(name="head-value", expects=("431 head_too_large",)),
    Attack(name="head-url", expects=("414 url_too_long",)),
    Attack(name="trailers", expects=("431 head_too_large|408 request_timeout",)),
    Attack(name="trailer-token", expects=("401 unauthenticated",), forbids=("200",)),
    Attack(name="silent", expects=("408 request_timeout",)),
    Attack(name="descriptors", expects=("503 too_many_connections|closed",), descriptors=DESCRIPTORS),
    Attack(name="pipelining", expects=("200",)),
    Attack(name="refused", expects=("429 rate_limited",)),
    Attack(name="slow-bodies", expects=("408 request_timeout", "429 too_many_bodies")),
    Attack(name="pages", expects=("422 message_too_large", "422 title_too_long", "200")),
    Attack(name="unread", expects=("pages cut short",), forbids=("pages held",)),
    Attack(name="cancelled", expects=("422 message_too_large", "429 rate_limited")),
    Attack(name="flood", expects=("200",), first_ms=SLOWER_MS + FLOOD_RUN_SECONDS * 1000),
    Attack(name="mentions", expects=("422 invalid_request|422 too_many_attachments",)),
    Attack(name="announced", expects=("429 too_many_attachments_unsent",)),
    Attack(name="puts", expects=("409|429",)),
)

AT_ONCE: Final = "at-once"
BASELINE: Final = "none"
WARMING: Final = "warming"
"""The phases without an attack; the first is not measured."""


def together(attacks: tuple[Attack, ...], *, expecting: bool) -> Attack:
    """All of them at once on one API process, with the loosest of the goals.

    Unless `expecting`, no answer has to be among those given: side by side the attacks do not come as far as alone.
    """
    parts = [attack for attack in attacks if attack.descriptors is None]
    return Attack(
        name=AT_ONCE,
        first_ms=max(attack.first_ms for attack in parts),
        parts=tuple(attack if expecting else replace(attack, expects=()) for attack in parts),
    )
