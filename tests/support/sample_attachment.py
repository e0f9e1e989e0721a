"""An image that a caller has uploaded."""

from __future__ import annotations

from typing import Any

from tests.support.system import Caller

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4


async def attachment_of(alice: Caller) -> Any:
    """An image that was uploaded."""
    params = {"name": "a.png", "size": len(PNG), "mime_type": "image/png"}
    made = await alice.ask({"type": "attachments.create", "params": params})
    upload = made["upload_descriptor"]
    sent = await alice.client.request(
        upload["method"], upload["url"], content=PNG, headers=upload.get("headers", {})
    )
    assert sent.status_code in (200, 204), sent.text
    return made
