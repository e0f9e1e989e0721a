"""The model calls of one attempt, and their tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ModelUsage:
    """Of one attempt."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, usage: object) -> None:
        """Counts a call, with the tokens that its model told."""
        self.calls += 1
        if isinstance(usage, dict):
            self.input_tokens += _tokens(usage.get("input_tokens"))
            self.output_tokens += _tokens(usage.get("output_tokens"))


def _tokens(told: object) -> int:
    return told if isinstance(told, int) and told > 0 else 0
