"""What the driver tells an attacking process, and what the process tells of its attack. Pure; imports little."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, kw_only=True)
class Order:
    """One attack of one process."""

    name: str
    port: int
    token: str
    seconds: float
    seed: int

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Order:
        return cls(**json.loads(text))


@dataclass
class Tally:
    """What an attack sent, and what it was answered."""

    sent_bytes: int = 0
    requests: int = 0
    connections: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """By status and code, such as `422 message_too_large`; `closed` and `reset` are connections without an answer."""

    def __str__(self) -> str:
        return json.dumps(vars(self))

    @classmethod
    def parse(cls, text: str) -> Tally:
        given = json.loads(text)
        return cls(**{**given, "answers": Counter(given["answers"])})

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.sent_bytes + other.sent_bytes,
            self.requests + other.requests,
            self.connections + other.connections,
            self.answers + other.answers,
        )
