"""What is wrong with a Redis, in one line for an operator: which it is of the many things that may be."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

from relaykit.shared.error_codes import code_of
from relaykit.shared.errors import QueueUnavailable, RelaykitError, SettingsError
from relaykit.shared.redis.sentinels import MasterUnknown, SentinelsSilent

_WRONG_SETTING = {
    "WRONGPASS": "Redis refuses its password, or its user (WRONGPASS)",
    "NOPASS": "Redis has no password for the user without a name, and it has one",
    "NOAUTH": "Redis asks for a password, and it has none (NOAUTH)",
    "NOPERM": "Redis refuses its user what docs/security.md lists (NOPERM)",
    "CROSSSLOT": "Redis is in cluster mode, which Relaykit cannot use",
    "CLUSTERDOWN": "Redis is in cluster mode, which Relaykit cannot use",
    "MOVED": "Redis is in cluster mode, which Relaykit cannot use",
    "UNKNOWN": "Redis is older than 6.2, or lacks a command of it",
}
"""What an operator has to change, by the code word."""

_WRONG_SENTINELS = {
    "WRONGPASS": "a sentinel refuses sentinel_password, or sentinel_username (WRONGPASS)",
    "NOPASS": "a sentinel has no password, and sentinel_password is set",
    "NOAUTH": "a sentinel asks for a password: sentinel_password=<password> in it (NOAUTH)",
    "NOPERM": "a sentinel refuses its user what docs/security.md lists (NOPERM)",
    "ERR": "what it names as a sentinel is none",
    "UNKNOWN": "what it names as a sentinel is none",
}
"""The same where it is a sentinel that refuses."""

_NOT_NOW = {
    "READONLY": "Redis is a replica (READONLY)",
    "MASTERDOWN": "Redis is a replica that has lost its primary (MASTERDOWN)",
    "NOREPLICAS": "Redis takes no writes without its replicas (NOREPLICAS)",
    "MISCONF": "Redis cannot write to its disk, and takes no writes (MISCONF)",
    "OOM": "Redis is full (OOM)",
    "LOADING": "Redis is loading its data (LOADING)",
}
"""What may pass by itself."""

_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING"})
_NO_CLIENT_CERTIFICATE = frozenset({"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"})
_UNREADABLE = frozenset(
    {"ENOENT", "EACCES", "EISDIR", "NO_CERTIFICATE_OR_CRL_FOUND", "PEM_LIB", "NO_START_LINE"}
)
"""What reading the files of ssl_ca_certs, ssl_certfile and ssl_keyfile comes to; no server says these over TLS."""

_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_OTHER_NAME = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


def explained(error: QueueUnavailable, *, is_tls: bool) -> RelaykitError:
    """SettingsError where something has to be changed, QueueUnavailable where it may pass by itself."""
    cause, code = error.__cause__, code_of(error)
    if isinstance(cause, MasterUnknown):
        return SettingsError("REDIS_URL: its sentinels know no primary of that master name")
    if is_tls and (problem := _tls_problem(error, code)) is not None:
        return SettingsError(f"REDIS_URL: {problem}")
    if isinstance(cause, SentinelsSilent):
        if code in _WRONG_SENTINELS:
            return SettingsError(f"REDIS_URL: {_WRONG_SENTINELS[code]}")
        how, reason = " in TLS" if is_tls else "", code or type(cause.__cause__).__name__
        return QueueUnavailable(f"REDIS_URL: no sentinel can be reached{how} ({reason})")
    if code in _WRONG_SETTING:
        return SettingsError(f"REDIS_URL: {_WRONG_SETTING[code]}")
    if code in _NOT_NOW:
        return QueueUnavailable(f"REDIS_URL: {_NOT_NOW[code]}")
    if cause is not None and _is_unanswered(cause):
        wanted = "may want ssl_certfile=<file>&ssl_keyfile=<file> in it" if is_tls else "wants rediss://"
        return QueueUnavailable(
            f"REDIS_URL: Redis closes the connection unanswered; a port with TLS {wanted}"
        )
    kind = type(cause).__name__ if cause is not None else None
    reason = " ".join(word for word in (kind, code) if word)
    return QueueUnavailable(f"REDIS_URL: Redis cannot be reached ({reason})" if reason else None)


def _tls_problem(error: QueueUnavailable, code: str | None) -> str | None:
    whose = "a sentinel" if isinstance(error.__cause__, SentinelsSilent) else "Redis"
    refused = next((each for each in _causes(error) if isinstance(each, ssl.SSLCertVerificationError)), None)
    if refused is not None and refused.verify_code == _EXPIRED:
        return f"the certificate of {whose} has expired"
    if refused is not None and refused.verify_code in _OTHER_NAME:
        return (
            f"the certificate of {whose} has another name than its host; ssl_check_hostname=false allows it"
        )
    if refused is not None:
        return f"the certificate of {whose} is not trusted; ssl_ca_certs=<file> in it names the CA"
    if code in _UNREADABLE:
        return f"a file of ssl_ca_certs, ssl_certfile or ssl_keyfile cannot be read ({code})"
    if code in _NO_CLIENT_CERTIFICATE:
        return f"{whose} asks for a certificate: ssl_certfile=<file>&ssl_keyfile=<file> in it ({code})"
    if code in _NO_TLS or isinstance(error.__cause__, RedisTimeoutError):
        return f"{whose} does not answer in TLS ({code or 'no handshake'}); without TLS it is redis://"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__


def _is_unanswered(cause: BaseException) -> bool:
    """Also where the answer is TLS's, which is no reply. The alert of TLS 1.3 for a missing certificate is lost."""
    return isinstance(cause, InvalidResponse) or (
        str(cause).startswith(("Connection closed by server", "Protocol error"))
        or str(cause).endswith("Connection lost.")
    )
