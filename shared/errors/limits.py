"""A limit that a request would exceed; docs/security.md lists them with their settings."""

from __future__ import annotations

from relaykit.shared.errors.base import RelaykitError


class MessageTooLarge(RelaykitError):
    """The message has more than MESSAGE_MAX_PARTS parts, or more than MESSAGE_MAX_BYTES bytes."""

    code = "message_too_large"


class TitleTooLong(RelaykitError):
    """The title has more than TITLE_MAX_CHARS characters."""

    code = "title_too_long"


class MetadataTooLarge(RelaykitError):
    """The metadata has more than METADATA_MAX_BYTES bytes."""

    code = "metadata_too_large"


class TooManyAttachments(RelaykitError):
    """The message has more attachments than MESSAGE_MAX_ATTACHMENTS."""

    code = "too_many_attachments"


class BodyTooLarge(RelaykitError):
    """The body is larger than MAX_BODY_BYTES."""

    code = "body_too_large"


class HeadTooLarge(RelaykitError):
    """The request line and the header fields are more than MAX_HEAD_BYTES or MAX_HEADER_FIELDS."""

    code = "head_too_large"


class ContextHeadersTooLarge(RelaykitError):
    """The header fields of CONTEXT_HEADERS have more than CONTEXT_HEADERS_MAX_BYTES bytes."""

    code = "context_headers_too_large"


class UrlTooLong(RelaykitError):
    """The URL is longer than MAX_URL_BYTES."""

    code = "url_too_long"


class RequestTimeout(RelaykitError):
    """The request did not come in time: HEAD_SECONDS for its head, BODY_BYTES_PER_SECOND for its body."""

    code = "request_timeout"


class TooManyConnections(RelaykitError):
    """The API process has reached its limit of connections."""

    code = "too_many_connections"


class RateLimited(RelaykitError):
    """Too many requests of this caller, or too many bytes."""

    code = "rate_limited"


class TenantRateLimited(RelaykitError):
    """Too many requests of this tenant."""

    code = "tenant_rate_limited"


class TooManyQueued(RelaykitError):
    """Too many runs of this tenant wait for a worker."""

    code = "too_many_queued"


class TooManyBodies(RelaykitError):
    """Too many bodies of this caller are being read."""

    code = "too_many_bodies"


class TooManyRuns(RelaykitError):
    """Too many runs of this caller have not ended."""

    code = "too_many_runs"


class TooManyStreams(RelaykitError):
    """This caller has too many streams open."""

    code = "too_many_streams"


class TooManyAttachmentsUnsent(RelaykitError):
    """This caller has created too many attachments, or too many bytes of them, that no message has taken yet."""

    code = "too_many_attachments_unsent"


class QueueFull(RelaykitError):
    """The queue is full, and this caller has its share of it."""

    code = "queue_full"


class AttachmentTooLarge(RelaykitError):
    """The attachment has more bytes than its reader takes."""

    code = "attachment_too_large"
