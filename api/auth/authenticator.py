"""Who is asking: the verified identity behind a token."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import jwt

from relaykit.api.auth.identity import Identity
from relaykit.shared.errors import Unauthenticated
from relaykit.shared.settings import Settings

MAX_TOKEN_CHARS = 16_384
MAX_NAME_CHARS = 255
MAX_LOCALE_CHARS = 35
MAX_VERIFIED_TOKENS = 1024
MAX_EXPIRY = 253_402_300_799
"""The end of the year 9999: an `exp` beyond it is read as this, so that timers and dates can hold it."""

REASONS: Final[Mapping[str, str]] = {
    "cookie": "The cookie with the token is there more than once.",
    "credentials": "There is more than one Authorization header, or it is not of the form Bearer <token>.",
    "too_large": f"The token is longer than {MAX_TOKEN_CHARS} characters.",
    "malformed": "The token is not a well-formed JWT.",
    "algorithm": "The token's algorithm is not allowed, or does not fit its key.",
    "no_kid": "The token names no key, and the issuer has more than one that could be meant.",
    "unknown_key": "The issuer has no such key.",
    "signature": "The token's signature is wrong.",
    "expired": "The token has expired.",
    "not_yet_valid": "The token is not valid yet.",
    "audience": "The token is meant for another audience.",
    "issuer": "The token comes from another issuer.",
    "subject": f"The token's subject is not a text of 1 to {MAX_NAME_CHARS} printable characters.",
    "tenant": f"The token's tenant is not a text of 1 to {MAX_NAME_CHARS} printable characters, or is missing.",
    "missing_claim": "The token lacks one of the claims exp, iss, aud and sub.",
}
"""Every reason that Unauthenticated can carry, with its message. Clients may compare the reason."""

_REASON_OF_ERROR: Final[Sequence[tuple[type[jwt.PyJWTError], str]]] = (
    (jwt.InvalidSignatureError, "signature"),
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not_yet_valid"),
    (jwt.InvalidAudienceError, "audience"),
    (jwt.InvalidIssuerError, "issuer"),
    (jwt.exceptions.InvalidSubjectError, "subject"),
    (jwt.MissingRequiredClaimError, "missing_claim"),
    (jwt.InvalidAlgorithmError, "algorithm"),
)
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_COMPACT_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")


@dataclass(frozen=True, slots=True)
class _Verified:
    identity: Identity
    kid: str | None
    algorithm: str
    key: jwt.PyJWK


class TokenKeys(Protocol):
    """Where the keys come from that verify tokens: JwksClient, or SharedSecret."""

    @property
    def algorithms(self) -> Collection[str]:
        """The only ones that are allowed."""

    async def key(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key for a token that names this id and algorithm; None where there is none."""

    async def renewed(self, refused: jwt.PyJWK, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Another key for the same token, which `refused` did not sign."""


class Authenticator:
    """Turns a token into an Identity.

    The algorithm must be one that the keys allow, and the one that the key's own type allows; a key that the token
    itself brings (`jwk`, `jku`, `x5c`) is never looked at. A token without a `kid` is accepted only when exactly one
    key of the issuer fits its algorithm.

    A token that was verified is not verified again (280 to 680 us for tokens of 0.3 to 2.5 KB, against 8 to 29 us),
    as long as the issuer's key set has not changed: a key that the issuer withdraws is honoured no longer than twice
    JWKS_CACHE_SECONDS while the issuer answers, whatever was verified with it.
    """

    def __init__(self, settings: Settings, keys: TokenKeys) -> None:
        self.settings = settings
        self._keys = keys
        self._verified: dict[bytes, _Verified] = {}

    async def authenticate(self, authorization_header: str | None) -> Identity:
        """The identity behind the header's token.

        Raises Unauthenticated, whose `reason` is one of REASONS or None without a header, and IssuerUnavailable.
        Neither's text holds anything of the token.
        """
        if authorization_header is None:
            raise Unauthenticated
        return await self.verify(_token_of(authorization_header))

    async def is_of_issuer(self, authorization_header: str) -> bool:
        """Whether the header has a token that names a key of the issuer's, which says nothing of who made it.

        Raises IssuerUnavailable.
        """
        try:
            token = jwt.get_unverified_header(_token_of(authorization_header))
        except (Unauthenticated, jwt.PyJWTError):
            return False
        algorithm, kid = token.get("alg"), token.get("kid")
        if kid is None or not isinstance(algorithm, str) or algorithm not in self._keys.algorithms:
            return False
        return await self._keys.key(kid, algorithm) is not None

    async def verify(self, token: str) -> Identity:
        """The identity behind the token, which a cookie had. Raises as `authenticate` does."""
        if len(token) > MAX_TOKEN_CHARS:
            raise _refused("too_large")
        if _COMPACT_JWT.fullmatch(token) is None:
            raise _refused("malformed")
        digest = hashlib.sha256(token.encode("ascii")).digest()
        known = self._verified.pop(digest, None)
        if known is None or not await self._still_good(known):
            known = await self._verify(token)
        self._verified[digest] = known
        while len(self._verified) > MAX_VERIFIED_TOKENS:
            del self._verified[next(iter(self._verified))]
        return known.identity

    async def _still_good(self, known: _Verified) -> bool:
        key = await self._keys.key(known.kid, known.algorithm)
        return key is known.key and time.time() < known.identity.expires_at

    async def _verify(self, token: str) -> _Verified:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise _refused("malformed") from error
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._keys.algorithms:
            raise _refused("algorithm")
        key = await self._keys.key(kid, algorithm)
        if key is None:
            raise _refused("no_kid" if kid is None else "unknown_key")
        try:
            claims = self._claims(token, key)
        except Unauthenticated as refusal:
            # the issuer may have another key under the same id by now
            renewed = await self._keys.renewed(key, kid, algorithm) if refusal.reason == "signature" else None
            if renewed is None:
                raise
            key, claims = renewed, self._claims(token, renewed)
        return _Verified(self._identity(claims, token), kid, algorithm, key)

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self.settings.jwt_audience,
                issuer=self.settings.jwt_issuer,
                leeway=self.settings.jwt_leeway_seconds,
                options={"require": ["exp", "iss", "aud", "sub"], "verify_jti": False},
            )
        except jwt.PyJWTError as error:
            raise _refused(_reason_of(error)) from error

    def _identity(self, claims: dict[str, Any], token: str) -> Identity:
        for name in ("exp", "nbf", "iat"):
            if type(claims.get(name, 0)) not in (int, float):
                raise _refused("malformed")
        if not _is_name(claims["sub"]):
            raise _refused("subject")
        tenant = claims.get(self.settings.jwt_tenant_claim)
        if not (_is_name(tenant) or (tenant is None and not self.settings.jwt_tenant_required)):
            raise _refused("tenant")
        tier = claims.get(self.settings.jwt_tier_claim) if self.settings.jwt_tier_claim else None
        return Identity(
            user_id=claims["sub"],
            tenant=tenant,
            tier=tier if _is_name(tier) else None,
            claims=claims,
            token=token,
            expires_at=min(int(claims["exp"]), MAX_EXPIRY) + self.settings.jwt_leeway_seconds,
        )


def sole_header(values: Sequence[str]) -> str | None:
    """The one value of the Authorization headers of a request, None without any.

    Raises Unauthenticated when there are several: which one counts must not depend on who reads them.
    """
    if len(values) > 1:
        raise _refused("credentials")
    return values[0] if values else None


def is_bearer(authorization_header: str) -> bool:
    """Whether it is a bearer token's, which no browser sends of itself, as it does a password's."""
    return _BEARER.fullmatch(authorization_header.strip(" ")) is not None


def unacceptable_cookie() -> Unauthenticated:
    """For a cookie with the token that comes with two values."""
    return _refused("cookie")


def locale_of(accept_language: str | None) -> str | None:
    """The first language of an Accept-Language header, None where it is absent or no language tag (RFC 5646)."""
    first = (accept_language or "")[:256].split(",", 1)[0].split(";", 1)[0].strip()
    return first if len(first) <= MAX_LOCALE_CHARS and _LANGUAGE_TAG.fullmatch(first) else None


def _token_of(authorization_header: str) -> str:
    if len(authorization_header) > MAX_TOKEN_CHARS + len("Bearer "):
        raise _refused("too_large")
    bearer = _BEARER.fullmatch(authorization_header.strip(" "))
    if bearer is None:
        raise _refused("credentials")
    return bearer[1]


def _reason_of(error: jwt.PyJWTError) -> str:
    return next((reason for kind, reason in _REASON_OF_ERROR if isinstance(error, kind)), "malformed")


def _refused(reason: str) -> Unauthenticated:
    return Unauthenticated(REASONS[reason], reason=reason)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable()
