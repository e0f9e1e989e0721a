"""What a setting such as OPS_CLAIM asks of a caller's claims: `name`, or `name=value`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

MAX_CHARS: Final = 500
WORD_CLAIMS: Final = frozenset({"scope", "scp"})
"""Claims whose text is a list of words with spaces between them (RFC 9068, section 2.2.3)."""


@dataclass(frozen=True, slots=True)
class ClaimRule:
    """Met by few values, so that no claim meets it that was meant to say no, such as "false"."""

    name: str
    value: str | None
    """None: the claim has to be the JSON value true."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what is neither `name` nor `name=value`."""
        name, equals, value = text.partition("=")
        is_whole = bool(name) and bool(value) == bool(equals)
        if not is_whole or not text.isprintable() or len(text) > MAX_CHARS:
            raise ValueError("must be the name of a claim, or name=value")
        if name != name.strip() or value != value.strip():
            raise ValueError("must have no space around the claim's name or its value")
        return cls(name, value if equals else None)

    def is_met(self, claims: Mapping[str, Any]) -> bool:
        """Whether the claim is true; with a value, whether it is that text, or a list that has it."""
        found = claims.get(self.name)
        if self.value is None:
            return found is True
        if isinstance(found, str):
            return found == self.value or (self.name in WORD_CLAIMS and self.value in found.split(" "))
        return isinstance(found, list) and self.value in found


def claims_that_meet(rules: Iterable[ClaimRule]) -> dict[str, Any]:
    """Claims that meet all of the rules."""
    claims: dict[str, Any] = {}
    for rule in rules:
        if rule.value is None:
            claims[rule.name] = True
        elif rule.name in claims:
            claims[rule.name] = [claims[rule.name], rule.value]
        else:
            claims[rule.name] = rule.value
    return claims
