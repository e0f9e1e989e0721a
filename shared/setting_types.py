"""The types of settings that want more than a number or a text. What is wrong is said without the value."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_settings import NoDecode

from relaykit.shared.claim_rule import ClaimRule
from relaykit.shared.redis_url import parse_redis_url

SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
"""Header fields that CONTEXT_HEADERS may not name."""
MAX_CONTEXT_HEADERS: Final = 20
MIN_SECRET_BYTES: Final = 32
"""Of a key of HS256, which has to be as long as the hash (RFC 7518, 3.2)."""
NAMES_OF_KEYS: Final = frozenset({"arq", "relaykit", "run"})
"""How the keys of a deployment without a name begin: one so named would be within reach of its Redis user."""
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]{1,100}")  # RFC 9110, 5.6.2
_COOKIE_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}")  # RFC 6265, 4.1.1
_DEPLOYMENT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _split_weights(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [part.rpartition("=") for part in value.split(",") if part.strip()]
    if any(not name.strip() for name, _, _ in pairs):
        raise ValueError("must be name=weight, separated by commas")
    return {name.strip(): weight.strip() for name, _, weight in pairs}


def _header_names(value: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.lower() for name in value))
    if not SECRET_HEADERS.isdisjoint(names):
        raise ValueError(
            "must not name Authorization, Proxy-Authorization or Cookie, which a run's row would keep in clear;"
            " FORWARD_TOKEN hands the caller's token to the server"
        )
    if not all(_HEADER_NAME.fullmatch(name) for name in names):
        raise ValueError("must be names of header fields, separated by commas")
    if len(names) > MAX_CONTEXT_HEADERS:
        raise ValueError(f"has more than {MAX_CONTEXT_HEADERS} names")
    return names


def origin_of(url: str) -> str:
    """The origin of a URL as a browser spells it: in lower case, without the port that the scheme has anyhow.

    Raises ValueError for what is no URL of http or https (RFC 6454, 6.2).
    """
    parts = urlsplit(url.lower())
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError(f"not an origin: {url[:100]!r}")
    port = {"http": ":80", "https": ":443"}[parts.scheme]
    return f"{parts.scheme}://{parts.netloc.removesuffix(port)}"


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        found = tuple(each if each == "*" else origin_of(each) for each in value)
        paths = [
            each for each in value if each != "*" and urlsplit(each)[2:] not in (("", "", ""), ("/", "", ""))
        ]
    except ValueError:
        found, paths = (), ["none"]
    if paths:
        raise ValueError("must be origins like https://shop.example, separated by commas, or *")
    return found


def _deployment_name(value: str) -> str:
    if value and (not _DEPLOYMENT_NAME.fullmatch(value) or value in NAMES_OF_KEYS):
        raise ValueError(
            "must be 1 to 32 of a-z, 0-9, _ and -, the first a letter or a digit, and not arq, relaykit or run"
        )
    return value


def _redis_url(value: str) -> str:
    parse_redis_url(value)
    return value


def _database_url(value: str) -> str:
    if not value.startswith(("postgresql://", "postgres://")):
        raise ValueError("must start with postgresql://")
    return value


def _secret(value: str | None) -> str | None:
    if value is None:
        return None
    if len(value.encode(errors="surrogateescape")) < MIN_SECRET_BYTES:
        raise ValueError(f"must have at least {MIN_SECRET_BYTES} bytes")
    if "-----BEGIN" in value or value.startswith("ssh-"):
        raise ValueError("must be a secret, and not a key of a pair, whose other half anybody may have")
    return value


def _jwks_url(value: str | None, info: ValidationInfo) -> str | None:
    if value is None:
        if info.data.get("authenticate") or info.data.get("jwt_secret"):
            return None
        raise ValueError("is not set, nor are JWT_SECRET and AUTHENTICATE")
    if not value.startswith(("https://", "http://")):
        raise ValueError("must start with https:// or http://")
    if info.data.get("jwt_secret"):
        raise ValueError("must not be set beside JWT_SECRET: tokens are verified in one way")
    return value


def _of_tokens(value: str | None, info: ValidationInfo) -> str | None:
    known: dict[str, Any] = info.data
    takes_no_tokens = known.get("authenticate") and not (known.get("jwt_secret") or known.get("jwks_url"))
    if value is None and not takes_no_tokens:
        raise ValueError("is not set")
    return value


def _cookie_name(value: str | None) -> str | None:
    if value is not None and not _COOKIE_NAME.fullmatch(value):
        raise ValueError("must be the name of a cookie")
    return value


def _claim_rule(value: str | None) -> str | None:
    if value is not None:
        ClaimRule.parse(value)
    return value


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
Origins = Annotated[CommaList, AfterValidator(_origins)]
HeaderNames = Annotated[CommaList, AfterValidator(_header_names)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)]
Weights = Annotated[dict[str, Weight], NoDecode, BeforeValidator(_split_weights)]
DeploymentName = Annotated[str, AfterValidator(_deployment_name)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Secret = Annotated[str | None, AfterValidator(_secret)]
JwksUrl = Annotated[str | None, AfterValidator(_jwks_url)]
"""To be declared after `authenticate` and `jwt_secret`, one of which may stand in its place."""
TokenClaim = Annotated[str | None, AfterValidator(_of_tokens)]
"""What the tokens have to say; to be declared after JwksUrl. None where no caller comes with a token."""
CookieName = Annotated[str | None, AfterValidator(_cookie_name)]
RuleOfClaim = Annotated[str | None, AfterValidator(_claim_rule)]
"""The text of a ClaimRule."""
