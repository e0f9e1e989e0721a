"""An issuer's key set: which of its keys may verify a token, and with which algorithm."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

MAX_KEYS = 100
MAX_KID_CHARS = 255
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

log = structlog.get_logger()


class KeySetError(Exception):
    """What the issuer answered is no key set, or one without a usable key. The text names no content of it."""


class KeySet:
    """The usable keys of one answer of the issuer, each bound to the one algorithm that its type allows."""

    def __init__(self, keys: Collection[jwt.PyJWK]) -> None:
        self._by_kid: dict[str, list[jwt.PyJWK]] = {}
        for key in keys:
            if key.key_id is not None:
                self._by_kid.setdefault(key.key_id, []).append(key)
        self._all = tuple(keys)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, kid: str) -> bool:
        return kid in self._by_kid

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key of that id and algorithm; without an id the algorithm's only key, None when it has several."""
        candidates = self._all if kid is None else self._by_kid.get(kid, ())
        fitting = [key for key in candidates if key.algorithm_name == algorithm]
        if len(fitting) == 1 or (fitting and kid is not None):
            return fitting[0]
        return None


def parse_key_set(body: bytes, algorithms: Collection[str]) -> KeySet:
    """The usable keys of a JWK set (RFC 7517), of which those that do not fit are left out, each with a log line.

    Raises KeySetError when the body is no JWK set or when nothing in it is usable.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise KeySetError("not JSON") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise KeySetError("no list of keys")
    keys = [key for entry in entries[:MAX_KEYS] if (key := _usable(entry, algorithms)) is not None]
    if len(entries) > MAX_KEYS:
        log.warning(
            "the issuer has more keys than the limit: those beyond it are ignored",
            action="jwks_keys_left_out",
            limit=MAX_KEYS,
        )
    if not keys:
        raise KeySetError("no usable key")
    return KeySet(keys)


def _usable(entry: object, algorithms: Collection[str]) -> jwt.PyJWK | None:
    try:
        return _key_of(entry, algorithms)
    except Exception as error:  # whatever one entry holds, the others must go on working
        reason = str(error) if isinstance(error, KeySetError) else type(error).__name__
        log.warning(
            "a key of the issuer cannot be used: it is ignored",
            action="jwks_key_left_out",
            reason=reason,
        )
        return None


def _key_of(entry: object, algorithms: Collection[str]) -> jwt.PyJWK:
    if not isinstance(entry, dict):
        raise KeySetError("not an object")
    if PRIVATE_MEMBERS & entry.keys():
        raise KeySetError("holds private or symmetric key material")
    _check_use(entry)
    algorithm = _algorithm_of(entry)
    if entry.get("alg", algorithm) != algorithm or algorithm not in algorithms:
        raise KeySetError("alg is not allowed for this key")
    kid = entry.get("kid")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID_CHARS):
        raise KeySetError("kid is not a text of a sensible length")
    key = jwt.PyJWK(entry, algorithm)
    if isinstance(key.key, RSAPublicKey) and not MIN_RSA_BITS <= key.key.key_size <= MAX_RSA_BITS:
        raise KeySetError("RSA key of a size that is not allowed")
    return key


def _check_use(entry: dict[str, Any]) -> None:
    if entry.get("use", "sig") != "sig":
        raise KeySetError("use is not sig")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise KeySetError("key_ops has no verify")


def _algorithm_of(entry: dict[str, Any]) -> str:
    match entry.get("kty"), entry.get("crv"):
        case "RSA", None:
            return "RS256"
        case "EC", "P-256":
            return "ES256"
        case "OKP", "Ed25519":
            return "EdDSA"
        case _:
            raise KeySetError("kty or crv is not supported")
