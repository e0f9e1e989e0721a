"""The word that says why a service failed: short, from a fixed set, and never the error's text.

Redis answers with a reply that begins with such a word, PostgreSQL with an SQLSTATE, the system with an errno, TLS with
a reason. The text behind it may quote a key, a statement, a URL.
"""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterator

import asyncpg
from redis import exceptions as redis_errors

from relaykit.shared.errors import RelaykitError


class NodeLeft(redis_errors.ConnectionError):
    """The process has closed the connection by itself, because Redis has answered another call with this word."""

    def __init__(self, word: str) -> None:
        super().__init__(f"the node was left: {word}")
        self.word = word


_WORD = re.compile(r"([A-Z]{2,20})(?: |$)")
_WORD_IN_SCRIPT = re.compile(r"@user_script: ?\d+: -([A-Z]{2,20}) ")
"""Redis before 7 answers a script with the reply of its command inside a text of its own."""
_TEXTS = {
    "Authentication required": "NOAUTH",
    "invalid username-password": "WRONGPASS",
    "AUTH <password> called without": "NOPASS",
    "The user executing the script can't": "NOPERM",
    "nknown Redis command called from": "UNKNOWN",
    "nknown command called from": "UNKNOWN",
    "no sentinel knows the master name": "NOMASTER",
}
"""The words of replies from which Redis leaves the word out, or redis-py takes it away; the last is our own."""
_TYPES: dict[type[Exception], str] = {
    redis_errors.ReadOnlyError: "READONLY",
    redis_errors.OutOfMemoryError: "OOM",
    redis_errors.NoPermissionError: "NOPERM",
    redis_errors.NoScriptError: "NOSCRIPT",
    redis_errors.ExecAbortError: "EXECABORT",
    redis_errors.BusyLoadingError: "LOADING",
}
"""redis-py takes the word out of the text of these."""
UNREACHABLE = "unreachable"
_ERRNOS = frozenset(errno.errorcode.values())
_CONNECTION_EXCEPTION = "08"
"""SQLSTATEs of a connection that is not there, or lost."""


def code_of(error: BaseException) -> str | None:
    """The word, of a driver's error or of what it was raised for; None where there is none."""
    if not isinstance(error, (RelaykitError, redis_errors.RedisError, asyncpg.PostgresError, OSError)):
        return None
    for each in _chain(error):
        if isinstance(each, redis_errors.RedisError):
            code = _of_reply(each)
        elif isinstance(each, asyncpg.PostgresError):
            code = each.sqlstate
        elif isinstance(each, ssl.SSLError):
            code = each.reason
        elif isinstance(each, OSError) and each.errno is not None:
            code = errno.errorcode.get(each.errno)
        else:
            code = None
        if code is not None:
            return code
    return None


def cause_of(error: BaseException) -> str:
    """The word as a metric tells it: `unreachable` stands for no answer, whatever of the network is the reason."""
    code = code_of(error)
    if code is None or code in _ERRNOS or code.startswith(_CONNECTION_EXCEPTION):
        return UNREACHABLE
    return code


def _of_reply(error: redis_errors.RedisError) -> str | None:
    if isinstance(error, NodeLeft):
        return error.word
    for kind, word in _TYPES.items():
        if isinstance(error, kind):
            return word
    text = str(error)
    for part, word in _TEXTS.items():
        if part in text:
            return word
    if isinstance(error, redis_errors.ResponseError):
        found = _WORD_IN_SCRIPT.search(text) or _WORD.match(text)
        return found[1] if found else "ERR"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised for, and so on; each of them once."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
