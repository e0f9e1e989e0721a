"""An HTTPException of the site's own code, as ChatKit's samples raise it, as an error of ours.

Its `detail` is the site's own words for its users: they are sent, and never logged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from chatkit.errors import CustomStreamError
from starlette.exceptions import HTTPException

from relaykit.shared.crashes import site_code
from relaykit.shared.errors import RelaykitError, ServerRefused
from relaykit.shared.text import well_formed, well_formed_escapes

MAX_MESSAGE_CHARS: Final = 2_000
MAX_DETAIL_BYTES: Final = 4_096
"""A larger detail that is no text is left out."""
MAX_RETRY_AFTER_SECONDS: Final = 86_400
TRANSIENT: Final = frozenset({408, 425, 429})
"""Statuses below 500 with which the same request may pass later."""


@contextmanager
def server_refusals() -> Iterator[None]:
    """Has an HTTPException in the block leave it as ServerRefused; likewise a CustomStreamError, with the status 400.

    An HTTPException whose status is no error, a redirect for instance, leaves it as RelaykitError: a chat's client
    cannot follow it. What is no Exception leaves it as ServerCrashed.
    """
    try:
        with site_code:
            yield
    except HTTPException as error:
        raise (refusal_of(error) or RelaykitError()) from error
    except CustomStreamError as error:
        raise ServerRefused(_message(error.message, 400), status=400) from error


def refusal_of(error: HTTPException) -> ServerRefused | None:
    """Status, words and Retry-After of the exception, each within bounds; its other headers are dropped.

    None where the status is none of an error.
    """
    status = error.status_code
    if not 400 <= status < 600:
        return None
    return ServerRefused(
        _message(error.detail, status),
        status=status,
        detail=None if isinstance(error.detail, str) else _json(error.detail),
        retry_after_seconds=_retry_after(error.headers or {}),
    )


def stream_error(refused: ServerRefused) -> CustomStreamError:
    """What a stream shows of it: the site's words, and Retry where the same message may pass later."""
    return CustomStreamError(
        refused.message, allow_retry=refused.status >= 500 or refused.status in TRANSIENT
    )


def _message(detail: Any, status: int) -> str:
    said = detail.get("message") if isinstance(detail, Mapping) else detail
    if isinstance(said, str) and said.strip():
        return well_formed(said)[:MAX_MESSAGE_CHARS]
    known = status in HTTPStatus.__members__.values()
    return f"{HTTPStatus(status).phrase}." if known else "The chat's server refuses this request."


def _json(detail: Any) -> Any:
    try:
        text = json.dumps(detail, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return None
    return json.loads(well_formed_escapes(text)) if len(text) <= MAX_DETAIL_BYTES else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    return float(min(int(value), MAX_RETRY_AFTER_SECONDS)) if value.isdecimal() and len(value) < 10 else None
