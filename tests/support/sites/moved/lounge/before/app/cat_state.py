"""What there is to know of a cat."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

UNNAMED = "Unnamed cat"


@dataclass
class CatState:
    name: str = UNNAMED
    energy: int = 5
    snacks: int = 0

    def feed(self) -> None:
        self.energy = min(10, self.energy + 2)
        self.snacks += 1

    def rename(self, name: str) -> None:
        self.name = name

    def to_payload(self) -> dict[str, Any]:
        return asdict(self)
