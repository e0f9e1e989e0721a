"""What the lounge's server expects as its context."""

from __future__ import annotations

from typing import Any

from relaykit import RequestContext


def context(request: RequestContext) -> dict[str, Any]:
    return {"request": request}
