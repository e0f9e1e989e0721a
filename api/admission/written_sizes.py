"""How large may be what a request leaves behind: in an item, in a thread, in its run's row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatkit.types import (
    ChatKitReq,
    ThreadsAddClientToolOutputReq,
    ThreadsAddStructuredInputReq,
    ThreadsAddUserMessageReq,
    ThreadsCreateReq,
    ThreadsCustomActionReq,
    ThreadsSyncCustomActionReq,
    ThreadsUpdateReq,
)
from pydantic_core import to_json

from relaykit.shared.errors import MessageTooLarge, MetadataTooLarge, TitleTooLong
from relaykit.shared.settings import Settings


def check_sizes(request: ChatKitReq, metadata: Mapping[str, Any], settings: Settings) -> None:
    """Raises MessageTooLarge, TitleTooLong or MetadataTooLarge."""
    if len(to_json(_message(request))) > settings.message_max_bytes:
        raise MessageTooLarge
    if len(to_json(metadata)) > settings.metadata_max_bytes:
        raise MetadataTooLarge
    if isinstance(request, ThreadsUpdateReq) and len(request.params.title) > settings.title_max_chars:
        raise TitleTooLong


def _message(request: ChatKitReq) -> Any:
    """The part of the request that is stored as the client sent it, or handed to the server with it."""
    match request:
        case ThreadsCreateReq() | ThreadsAddUserMessageReq() | ThreadsAddStructuredInputReq():
            return request.params.input
        case ThreadsAddClientToolOutputReq():
            return request.params.result
        case ThreadsCustomActionReq() | ThreadsSyncCustomActionReq():
            return request.params.action
        case _:
            return None
