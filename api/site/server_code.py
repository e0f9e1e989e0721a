"""Which requests reach code of the site's server, and which our own store and the SDK answer."""

from __future__ import annotations

from typing import Final

from chatkit.types import (
    AttachmentsCreateReq,
    AttachmentsDeleteReq,
    ChatKitReq,
    InputTranscribeReq,
    ItemsFeedbackReq,
    ThreadsSyncCustomActionReq,
    is_streaming_req,
)

from relaykit.shared.attachments.store import ObjectAttachmentStore
from relaykit.shared.site.user_server import UserServer

_OF_RUNS: Final = frozenset(
    {
        "respond",
        "action",
        "handle_stream_cancelled",
        "_process_events",
        "_update_pending_items",
        "_apply_assistant_message_update",
    }
)
"""Methods that no request calls, but a run."""
_OF_REQUESTS: Final = frozenset({"add_feedback", "transcribe", "sync_action", "get_stream_options"})
"""Methods that certain requests call. Any other is the SDK's own business: many requests may call it."""


def reaches_code(user: UserServer, request: ChatKitReq) -> bool:
    """Whether answering or admitting the request calls a method of the site's, apart from CHATKIT_CONTEXT."""
    own = user.own_methods
    if not user.is_store_ours or own - _OF_RUNS - _OF_REQUESTS:
        return True
    match request:
        case ItemsFeedbackReq():
            return "add_feedback" in own
        case InputTranscribeReq():
            return "transcribe" in own
        case ThreadsSyncCustomActionReq():
            return "sync_action" in own
        case AttachmentsCreateReq() | AttachmentsDeleteReq():
            return type(user.server.attachment_store) is not ObjectAttachmentStore
        case _:
            return is_streaming_req(request) and "get_stream_options" in own
