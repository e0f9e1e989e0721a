"""Domain errors. Each has a stable code, documented in docs/protocol.md; none knows of HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class RelaykitError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str | None = None, *, retry_after_seconds: float | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.message)


class SettingsError(RelaykitError):
    """A setting is missing or wrong."""

    code = "bad_setting"


class ServerLoadError(RelaykitError):
    """CHATKIT_SERVER or CHATKIT_CONTEXT cannot be loaded."""

    code = "server_not_loadable"


class DatabaseUnavailable(RelaykitError):
    """The database cannot be reached."""

    code = "database_unavailable"


class SchemaOutdated(RelaykitError):
    """The database's schema is not up to date: run `python -m shared.migrate`."""

    code = "schema_outdated"


class MigrationFailed(RelaykitError):
    """A migration of the database's schema failed."""

    code = "migration_failed"


class QueueUnavailable(RelaykitError):
    """Redis cannot be reached."""

    code = "queue_unavailable"


class Stopping(RelaykitError):
    """The API process stops before it could answer; another one can."""

    code = "stopping"


class Overloaded(RelaykitError):
    """So many clients have come back at once that this one would wait too long."""

    code = "overloaded"


class Unauthenticated(RelaykitError):
    """The request carries no valid bearer token."""

    code = "unauthenticated"

    def __init__(self, message: str | None = None, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        """What is wrong with the token, as one lower-case word; None when there is no token at all."""


class IssuerUnavailable(RelaykitError):
    """The keys of the token's issuer cannot be fetched."""

    code = "issuer_unavailable"


class TokenUnreadable(RelaykitError):
    """The caller's token cannot be decrypted: FORWARD_TOKEN_KEY has changed, or the run's row was altered."""

    code = "token_unreadable"


class LocalOnly(RelaykitError):
    """The local issuer answers only requests that this machine makes to itself."""

    code = "local_only"


class InvalidJson(RelaykitError):
    """The body is not JSON."""

    code = "invalid_json"


class UnknownRequestType(RelaykitError):
    """The request's type is not one of the ChatKit protocol."""

    code = "unknown_request_type"


class InvalidRequest(RelaykitError):
    """A field of the request is missing or of the wrong type."""

    code = "invalid_request"

    def __init__(self, message: str | None = None, *, locations: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.locations = tuple(locations)
        """The fields, as dotted paths; never their values."""


class EmptyMessage(RelaykitError):
    """The message has neither text nor a tag nor an attachment."""

    code = "empty_message"


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


class MalformedRequest(RelaykitError):
    """The request cannot be read: it is not HTTP/1.1, or not unambiguous."""

    code = "bad_request"


class HeadTooLarge(RelaykitError):
    """The request line and the header fields are more than MAX_HEAD_BYTES or MAX_HEADER_FIELDS."""

    code = "head_too_large"


class UrlTooLong(RelaykitError):
    """The URL is longer than MAX_URL_BYTES."""

    code = "url_too_long"


class RequestTimeout(RelaykitError):
    """The request did not come in time: HEAD_SECONDS for its head, BODY_BYTES_PER_SECOND for its body."""

    code = "request_timeout"


class TooManyConnections(RelaykitError):
    """The API process has as many connections as it may have."""

    code = "too_many_connections"


class ThreadNotFound(RelaykitError):
    """There is no such thread."""

    code = "thread_not_found"


class ItemNotFound(RelaykitError):
    """There is no such item in the thread."""

    code = "item_not_found"


class AttachmentNotFound(RelaykitError):
    """There is no such attachment."""

    code = "attachment_not_found"


class RunNotFound(RelaykitError):
    """There is no such run."""

    code = "run_not_found"


class ItemMismatch(RelaykitError):
    """The item is not of the kind, or not in the state, that the request needs."""

    code = "item_mismatch"


class ThreadBusy(RelaykitError):
    """Another run of the thread is active."""

    code = "thread_busy"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Run {run_id} of this thread is active.")
        self.run_id = run_id


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


class IdempotencyMismatch(RelaykitError):
    """The Idempotency-Key was used before with another body."""

    code = "idempotency_mismatch"


class BodyRepeated(RelaykitError):
    """The same body came a moment ago."""

    code = "body_repeated"


class InvalidIdempotencyKey(RelaykitError):
    """An Idempotency-Key is 1 to 255 visible ASCII characters."""

    code = "invalid_idempotency_key"


class InvalidCursor(RelaykitError):
    """The cursor is not <attempt>-<seq>."""

    code = "invalid_cursor"


class JournalGone(RelaykitError):
    """The run's journal is gone or trimmed before the cursor; load the thread instead."""

    code = "journal_gone"

    def __init__(self, thread_id: str | None = None) -> None:
        super().__init__()
        self.thread_id = thread_id


class NotSupported(RelaykitError):
    """The server does not support this request."""

    code = "not_supported"


class AttachmentRejected(RelaykitError):
    """The attachment's type or size is not allowed."""

    code = "attachment_rejected"


class AttachmentNotUploaded(RelaykitError):
    """The attachment's bytes have not been uploaded."""

    code = "attachment_not_uploaded"


class AttachmentAlreadyUploaded(RelaykitError):
    """The attachment's bytes have been uploaded before."""

    code = "attachment_already_uploaded"


class UploadInProgress(RelaykitError):
    """Another upload of this attachment is going on."""

    code = "upload_in_progress"


class AttachmentTooLarge(RelaykitError):
    """The attachment has more bytes than its reader takes."""

    code = "attachment_too_large"


class StorageUnavailable(RelaykitError):
    """The storage of the attachments cannot be reached."""

    code = "storage_unavailable"


class InvalidSignature(RelaykitError):
    """The link is not signed, or its time is over."""

    code = "invalid_signature"


class Fenced(RelaykitError):
    """A newer attempt of the run has begun; this one may write no more."""

    code = "fenced"
