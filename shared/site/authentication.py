"""What the site's AUTHENTICATE is asked with, and what it answers. Public: `from relaykit import ...`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

MAX_NAME_CHARS: Final = 255
MAX_CLAIMS_BYTES: Final = 16 * 1024
MAX_TOKEN_CHARS: Final = 16_384
MAX_VALID_SECONDS: Final = 86_400.0

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")

Read = tuple[str, str]
"""A part of a request by its kind and name: ("header", "x-user"), ("cookie", "session"), ("path", "")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatedUser:
    """Who makes a request, as the site knows it.

    `user_id` and `tenant` are the owner of everything that the caller makes. The answer is believed for
    `valid_seconds`, from 1 to 86,400: so long AUTHENTICATE is not asked again for an equal request, and at its end
    streams are closed, whose clients come back and are asked for anew. `token` is what `RequestContext.bearer_token`
    holds where FORWARD_TOKEN is set.

    Raises ValueError or TypeError for what cannot be stored: names have 1 to 255 printable characters, claims are JSON
    of at most 16 KiB.
    """

    user_id: str
    tenant: str | None = None
    tier: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)
    valid_seconds: float = 60.0

    def __post_init__(self) -> None:
        _check_name("user_id", self.user_id)
        if self.tenant is not None:
            _check_name("tenant", self.tenant)
        if self.tier is not None:
            _check_name("tier", self.tier)
        claims_json(self.claims)
        if self.token is not None and not (
            isinstance(self.token, str)
            and len(self.token) <= MAX_TOKEN_CHARS
            and _TOKEN.fullmatch(self.token)
        ):
            raise ValueError(
                f"token is no bearer token (RFC 6750, 2.1) of at most {MAX_TOKEN_CHARS} characters"
            )
        if not 1 <= self.valid_seconds <= MAX_VALID_SECONDS:
            raise ValueError(f"valid_seconds is not 1 to {MAX_VALID_SECONDS:.0f}")


def claims_json(claims: object) -> str:
    """The claims as they are stored. Raises TypeError and ValueError, as AuthenticatedUser does."""
    if not isinstance(claims, Mapping):
        raise TypeError("claims is no mapping")
    text = json.dumps(dict(claims), allow_nan=False)
    if len(text) > MAX_CLAIMS_BYTES:
        raise ValueError(f"claims has more than {MAX_CLAIMS_BYTES} bytes")
    return text


def _check_name(what: str, name: object) -> None:
    if not (isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS and name.isprintable()):
        raise ValueError(f"{what} is no text of 1 to {MAX_NAME_CHARS} printable characters")


EVERYTHING: Final[tuple[Read, ...]] = (
    ("client", ""),
    ("cookies", ""),
    ("headers", ""),
    ("method", ""),
    ("path", ""),
)
"""All that there is of a request."""


class AuthRequest:
    """A request as AUTHENTICATE sees it: its method, path, header fields and cookies, and the address it came from.

    All of it is written by the client, but for `client` where no proxy stands in front. It remembers what has been read
    of it, so that the answer is kept for requests that are equal in that.
    """

    __slots__ = ("_client", "_cookies", "_headers", "_method", "_path", "_reads")

    def __init__(
        self,
        *,
        method: str,
        path: str,
        headers: Mapping[str, str],
        cookies: Mapping[str, str],
        client: str | None = None,
    ) -> None:
        self._method, self._path, self._client = method, path, client
        self._headers = {name.lower(): value for name, value in headers.items()}
        self._cookies = dict(cookies)
        self._reads: set[Read] = set()

    @property
    def method(self) -> str:
        self._reads.add(("method", ""))
        return self._method

    @property
    def path(self) -> str:
        self._reads.add(("path", ""))
        return self._path

    @property
    def client(self) -> str | None:
        """The address that the connection comes from, which is a proxy's where there is one."""
        self._reads.add(("client", ""))
        return self._client

    @property
    def headers(self) -> Mapping[str, str]:
        """By name, in any case; several fields of one name are joined by a comma."""
        return _Noted("header", self._headers, self._reads, str.lower)

    @property
    def cookies(self) -> Mapping[str, str]:
        """By name. One that comes twice with different values is not here."""
        return _Noted("cookie", self._cookies, self._reads, str)

    def __copy__(self) -> AuthRequest:
        """Itself, so that what is read of a copy is noted."""
        return self

    def __deepcopy__(self, memo: object) -> AuthRequest:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AuthRequest stays in its process: hand on what you need of it")

    @property
    def reads(self) -> tuple[Read, ...]:
        """What has been read so far."""
        return tuple(sorted(self._reads))

    def digest(self, reads: tuple[Read, ...]) -> bytes:
        """Equal for two requests that do not differ in these parts."""
        parts = [[kind, name, self._part(kind, name)] for kind, name in reads]
        return hashlib.sha256(json.dumps(parts).encode()).digest()

    def _part(self, kind: str, name: str) -> object:
        match kind:
            case "method":
                return self._method
            case "path":
                return self._path
            case "client":
                return self._client
            case "header":
                return self._headers.get(name)
            case "cookie":
                return self._cookies.get(name)
            case "headers":
                return sorted(self._headers.items())
            case _:
                return sorted(self._cookies.items())


class _Noted(Mapping[str, str]):
    """A mapping that notes each name that is asked for, also where there is none, and each look at all names."""

    __slots__ = ("_fold", "_kind", "_reads", "_values")

    def __init__(
        self, kind: str, values: Mapping[str, str], reads: set[Read], fold: Callable[[str], str]
    ) -> None:
        self._kind, self._values, self._reads, self._fold = kind, values, reads, fold

    def __getitem__(self, name: str) -> str:
        name = self._fold(name)
        self._reads.add((self._kind, name))
        return self._values[name]

    def __reduce__(self) -> tuple[type[dict[str, str]], tuple[dict[str, str]]]:
        """A copy is a plain dictionary, of which all has been read."""
        return dict, (dict(self),)

    def __iter__(self) -> Iterator[str]:
        self._reads.add((f"{self._kind}s", ""))
        return iter(self._values)

    def __len__(self) -> int:
        self._reads.add((f"{self._kind}s", ""))
        return len(self._values)


Authenticate = Callable[[AuthRequest], Awaitable[AuthenticatedUser | None]]
"""AUTHENTICATE: None for a caller that the site does not know, which is 401. An HTTPException refuses in its words."""
