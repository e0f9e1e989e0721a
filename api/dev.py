"""Local mode's issuer: real RS256 tokens for whoever is at this machine. A deployment never mounts it."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fastapi import APIRouter, Depends
from jwt.algorithms import RSAAlgorithm
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse

from api.authentication import MAX_NAME_CHARS
from api.key_set import MIN_RSA_BITS
from api.openapi import Json, answer, refusals
from shared.errors import InvalidJson, InvalidRequest, LocalOnly, SettingsError
from shared.settings import LOOPBACK_HOSTS, Settings

MAX_TTL_SECONDS = 86_400

_TOKEN: Json = {
    "type": "object",
    "properties": {"access_token": {"type": "string"}, "expires_in": {"type": "integer"}},
    "required": ["access_token", "expires_in"],
    "additionalProperties": False,
}
_KEY_SET: Json = {
    "type": "object",
    "properties": {"keys": {"type": "array", "items": {"type": "object"}, "minItems": 1}},
    "required": ["keys"],
    "additionalProperties": False,
}


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable")
    return text


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS), AfterValidator(_printable)]


class TokenRequest(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    sub: Name
    tenant: Name | None = None
    ttl_seconds: int = Field(default=600, ge=1, le=MAX_TTL_SECONDS)


class LocalIssuer:
    """Signs with the RSA key in LOCAL_ISSUER_KEY_FILE, as the issuer and for the audience of the settings."""

    def __init__(self, settings: Settings, key_file: Path) -> None:
        """Raises SettingsError when the file holds no RSA key that can be used."""
        self._settings = settings
        self._key = _load_key(key_file)
        public = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
        members = {"kty": public["kty"], "n": public["n"], "e": public["e"]}
        self._kid = thumbprint(members)
        self.key_set = {"keys": [{**members, "kid": self._kid, "use": "sig", "alg": "RS256"}]}

    def token(self, request: TokenRequest) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self._settings.jwt_issuer,
            "aud": self._settings.jwt_audience,
            "sub": request.sub,
            "iat": now,
            "nbf": now,
            "exp": now + request.ttl_seconds,
            "jti": secrets.token_urlsafe(12),
        }
        if request.tenant is not None:
            claims[self._settings.jwt_tenant_claim] = request.tenant
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._kid})


def dev_router(settings: Settings) -> APIRouter:
    """`POST /dev/token` and `GET /dev/jwks.json`, for requests that this machine makes to itself.

    Mount it only where LOCAL_ISSUER_KEY_FILE is set. Raises SettingsError without a usable key.
    """
    if settings.local_issuer_key_file is None:
        raise SettingsError("LOCAL_ISSUER_KEY_FILE is not set")
    issuer = LocalIssuer(settings, settings.local_issuer_key_file)
    router = APIRouter(prefix="/dev", dependencies=[Depends(require_local)])

    @router.post(
        "/token",
        responses={
            200: answer("A token, and its life in seconds.", _TOKEN),
            **refusals(LocalOnly, InvalidJson, InvalidRequest, framework=[400]),
        },
    )
    async def token(body: TokenRequest) -> JSONResponse:
        """A token for whoever is named."""
        answer = {"access_token": issuer.token(body), "expires_in": body.ttl_seconds}
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    @router.get("/jwks.json", responses={200: answer("A JWK set.", _KEY_SET), **refusals(LocalOnly)})
    async def key_set() -> JSONResponse:
        """The keys that the tokens are signed with."""
        return JSONResponse(issuer.key_set)

    return router


async def require_local(request: Request) -> None:
    """Raises LocalOnly unless the request was made to a loopback name and, by a browser, from a loopback page.

    A page from elsewhere that had its own name resolve to this machine (DNS rebinding) comes with its own name in
    Host; one that posts here across origins comes with its own in Origin.
    """
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or not _is_loopback(f"http://{hosts[0]}"):
        raise LocalOnly
    if not all(_is_loopback(origin) for origin in request.headers.getlist("origin")):
        raise LocalOnly


def thumbprint(members: Mapping[str, str]) -> str:
    """The RFC 7638 thumbprint of a key, given the required members of its type and no others."""
    canonical = json.dumps(dict(members), sort_keys=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()


def _is_loopback(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and parts.hostname in LOOPBACK_HOSTS
        and "@" not in parts.netloc
        and not parts.path
        and not parts.query
        and not parts.fragment
    )


def _load_key(file: Path) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(
            f"LOCAL_ISSUER_KEY_FILE: no PEM private key can be read from it ({type(error).__name__})"
        ) from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < MIN_RSA_BITS:
        raise SettingsError(f"LOCAL_ISSUER_KEY_FILE: not an RSA key of {MIN_RSA_BITS} bits or more")
    return key
