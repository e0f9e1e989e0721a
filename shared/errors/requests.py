"""What is wrong with a request, or with what it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relaykit.shared.errors.base import RelaykitError


class Unauthenticated(RelaykitError):
    """The request carries no valid bearer token."""

    code = "unauthenticated"

    def __init__(self, message: str | None = None, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        """What is wrong with the token, as one lower-case word; None when there is no token at all."""


class CrossSiteRequest(RelaykitError):
    """A page of another site has made the browser send this request."""

    code = "cross_site_request"


class LocalOnly(RelaykitError):
    """The local issuer answers only requests that this machine makes to itself."""

    code = "local_only"


class Forbidden(RelaykitError):
    """The caller is no operator."""

    code = "forbidden"


class ContentForbidden(RelaykitError):
    """The caller may not see what users, servers and models have written."""

    code = "content_forbidden"


class InvalidFilter(RelaykitError):
    """A parameter of the query is unknown, or means nothing."""

    code = "invalid_filter"


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


class MalformedRequest(RelaykitError):
    """The request cannot be read: it is not HTTP/1.1, or not unambiguous."""

    code = "bad_request"


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


class IdempotencyMismatch(RelaykitError):
    """The Idempotency-Key was used before with another body."""

    code = "idempotency_mismatch"


class BodyRepeated(RelaykitError):
    """The same body came a moment ago."""

    code = "body_repeated"


class InvalidIdempotencyKey(RelaykitError):
    """An Idempotency-Key is 1 to 255 visible ASCII characters."""

    code = "invalid_idempotency_key"


class NothingToResume(RelaykitError):
    """Last-Event-ID asks for the rest of a run, and the request has made no run, or several that fit."""

    code = "nothing_to_resume"


class InvalidCursor(RelaykitError):
    """The cursor is not <attempt>-<seq>."""

    code = "invalid_cursor"


class JournalGone(RelaykitError):
    """The run's journal is gone or trimmed before the cursor; load the thread instead."""

    code = "journal_gone"

    def __init__(self, thread_id: str | None = None) -> None:
        super().__init__()
        self.thread_id = thread_id


class ServerRefused(RelaykitError):
    """The chat's server refuses this request."""

    code = "server_refused"

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int = 403,
        detail: Any = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.status = status
        """Of HTTP: the site's own code has said it in its HTTPException, 400 to 599."""
        self.detail = detail
        """What the site has said in a form other than text, as JSON; None where it has not."""


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


class AttachmentInUse(RelaykitError):
    """A message shows the attachment; it goes with the last thread that does."""

    code = "attachment_in_use"


class UploadInProgress(RelaykitError):
    """Another upload of this attachment is going on."""

    code = "upload_in_progress"


class InvalidSignature(RelaykitError):
    """The link has no valid signature, or it has expired."""

    code = "invalid_signature"
