"""Signed links to attachments: who may do what with which one, and until when."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from relaykit.shared.errors import InvalidSignature
from relaykit.shared.owner import Owner


@dataclass(frozen=True, slots=True)
class Grant:
    """What a signature allows. All of it is signed, so that no part can be exchanged."""

    method: Literal["GET", "PUT"]
    attachment_id: str
    owner: Owner
    expires: int | None
    """Seconds since the epoch; None for a link that lasts as long as the attachment."""


def sign(key: str, grant: Grant) -> str:
    """The grant's HMAC-SHA256, as 43 characters that need no escaping in a URL."""
    signed = ["relaykit attachment 1", grant.method, grant.attachment_id, *grant.owner, grant.expires]
    content = json.dumps(signed, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hmac.digest(key.encode(), content, hashlib.sha256)).rstrip(b"=").decode()


def check(key: str, grant: Grant, signature: str, now_seconds: float) -> None:
    """Raises InvalidSignature for a signature that is not the grant's, and for a grant whose time is over."""
    if not hmac.compare_digest(sign(key, grant).encode(), signature.encode()):
        raise InvalidSignature
    if grant.expires is not None and now_seconds >= grant.expires:
        raise InvalidSignature("The link's time is over.")


def parse_expires(value: str | None) -> int | None:
    """The `expires` of a link. Raises InvalidSignature for what `link` never writes."""
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 12 and str(int(value)) == value):
        raise InvalidSignature
    return int(value)


def link(key: str, public_url: str, grant: Grant) -> str:
    """The grant as a URL under `public_url`."""
    expires = "" if grant.expires is None else f"expires={grant.expires}&"
    path = f"/attachments/{quote(grant.attachment_id, safe='')}"
    return f"{public_url.rstrip('/')}{path}?{expires}signature={sign(key, grant)}"
