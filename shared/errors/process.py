"""What stops a process at its start, or keeps it from answering."""

from __future__ import annotations

from relaykit.shared.errors.base import RelaykitError


class SettingsError(RelaykitError):
    """A setting is missing or wrong."""

    code = "bad_setting"


class ServerLoadError(RelaykitError):
    """The site's server, context, lifespan or application cannot be loaded."""

    code = "server_not_loadable"


class DatabaseUnavailable(RelaykitError):
    """The database cannot be reached."""

    code = "database_unavailable"


class SchemaOutdated(RelaykitError):
    """The database's schema is not up to date: run `relaykit migrate`."""

    code = "schema_outdated"


class MigrationFailed(RelaykitError):
    """A migration of the database's schema failed."""

    code = "migration_failed"


class QueueUnavailable(RelaykitError):
    """Redis cannot be reached."""

    code = "queue_unavailable"


class ContextTimeout(RelaykitError):
    """CHATKIT_CONTEXT took longer than CONTEXT_SECONDS."""

    code = "context_timeout"


class AuthenticationTimeout(RelaykitError):
    """The site's AUTHENTICATE took longer than CONTEXT_SECONDS."""

    code = "authentication_timeout"


class AuthenticationFailed(RelaykitError):
    """The site's AUTHENTICATE failed, so that it is not known who is calling."""

    code = "authentication_failed"


class ServerBlocked(RelaykitError):
    """A call in the chat server's own code does not return, and holds up what needs that code."""

    code = "server_blocked"


class Stopping(RelaykitError):
    """The API process stops before it could answer; another one can."""

    code = "stopping"


class Draining(RelaykitError):
    """The API process is about to stop: new requests belong to another one."""

    code = "draining"


class Overloaded(RelaykitError):
    """So many clients have come back at once that this one would wait too long."""

    code = "overloaded"


class IssuerUnavailable(RelaykitError):
    """The keys of the token's issuer cannot be fetched."""

    code = "issuer_unavailable"


class TokenUnreadable(RelaykitError):
    """The caller's token cannot be decrypted: FORWARD_TOKEN_KEY has changed, or the run's row was altered."""

    code = "token_unreadable"


class StorageUnavailable(RelaykitError):
    """The storage of the attachments cannot be reached."""

    code = "storage_unavailable"


class Fenced(RelaykitError):
    """A newer attempt of the run has begun; this one may write no more."""

    code = "fenced"
