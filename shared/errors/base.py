"""What all domain errors have in common."""

from __future__ import annotations

from typing import ClassVar


class RelaykitError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str | None = None, *, retry_after_seconds: float | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.message)
