"""Local mode's issuer: real RS256 tokens for the user of this machine. A deployment never mounts it."""

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

from relaykit.api.auth.authenticator import MAX_NAME_CHARS
from relaykit.api.auth.key_set import MIN_RSA_BITS
from relaykit.api.http.json_body import parsed_body
from relaykit.api.openapi.responses import Json, answer, refusals
from relaykit.shared.claim_rule import ClaimRule, claims_that_meet
from relaykit.shared.errors import BodyTooLarge, InvalidJson, InvalidRequest, LocalOnly, SettingsError
from relaykit.shared.settings import LOOPBACK_HOSTS, Settings

MAX_TTL_SECONDS = 86_400
MAX_TOKEN_REQUEST_BYTES = 16_384
"""Enough for two names of MAX_NAME_CHARS in any spelling of JSON."""

FORWARDING_HEADERS = frozenset(
    {
        "cdn-loop",
        "fastly-client-ip",
        "fly-client-ip",
        "forwarded",
        "true-client-ip",
        "via",
        "x-amzn-trace-id",
        "x-azure-clientip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-original-forwarded-for",
        "x-original-host",
        "x-real-ip",
    }
)
FORWARDING_PREFIXES = ("cf-", "tailscale-", "x-forwarded")
"""With FORWARDING_HEADERS: the headers that proxies and tunnels add to the requests of other machines."""

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
    operator: bool = False
    """With the claims of the console, where it is on."""


_TOKEN_REQUEST: Json = {
    "required": True,
    "content": {"application/json": {"schema": TokenRequest.model_json_schema()}},
}


class LocalIssuer:
    """Signs with JWT_SECRET, else with the RSA key in LOCAL_ISSUER_KEY_FILE, as the issuer of the settings."""

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
        if request.operator:
            rules = filter(None, (self._settings.ops_claim, self._settings.ops_content_claim))
            claims |= claims_that_meet(map(ClaimRule.parse, rules))
        if self._settings.jwt_secret is not None:
            return jwt.encode(claims, self._settings.jwt_secret, algorithm="HS256")
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._kid})


def dev_router(issuer: LocalIssuer) -> APIRouter:
    """`POST /dev/token` and `GET /dev/jwks.json`, for requests that this machine makes to itself."""
    router = APIRouter(prefix="/dev", dependencies=[Depends(require_local), Depends(refuse_other_sites)])

    @router.post(
        "/token",
        responses={
            200: answer("A token, and its life in seconds.", _TOKEN),
            **refusals(LocalOnly, InvalidJson, BodyTooLarge, InvalidRequest),
        },
        openapi_extra={"requestBody": _TOKEN_REQUEST},
    )
    async def token(request: Request) -> JSONResponse:
        """A token for the user that the body names."""
        asked = await _token_request(request)
        answer = {"access_token": issuer.token(asked), "expires_in": asked.ttl_seconds}
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    @router.get("/jwks.json", responses={200: answer("A JWK set.", _KEY_SET), **refusals(LocalOnly)})
    async def key_set() -> JSONResponse:
        """The keys that the tokens are signed with."""
        return JSONResponse(issuer.key_set)

    return router


async def require_local(request: Request) -> None:
    """Raises LocalOnly unless this machine made the request to itself; reads no body.

    A page from elsewhere that had its own name resolve to this machine (DNS rebinding) comes with its own name in
    Host; one that posts here across origins comes with its own in Origin. A proxy or a tunnel that brings requests of
    other machines here says so in a forwarding header, or by HTTP/1.0, which has long been nginx's default and which no
    browser speaks. A proxy that hides all of that cannot be told from this machine.
    """
    headers = request.headers
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _is_loopback(f"http://{hosts[0]}"):
        raise LocalOnly
    if not all(_is_loopback(origin) for origin in headers.getlist("origin")):
        raise LocalOnly
    if request.scope["http_version"] != "1.1" or any(map(_is_forwarding, headers.keys())):
        raise LocalOnly


async def refuse_other_sites(request: Request) -> None:
    """Raises LocalOnly for what a browser asks for on behalf of a page of another site.

    The browser calls a page on localhost another site than 127.0.0.1: where it names the page's origin, `require_local`
    has looked at that.
    """
    sites = request.headers.getlist("sec-fetch-site")
    if "cross-site" in sites and "origin" not in request.headers:
        raise LocalOnly


async def _token_request(request: Request) -> TokenRequest:
    """Reads the body only now that `require_local` has let the request in, and no more of it than is allowed."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_TOKEN_REQUEST_BYTES:
            raise BodyTooLarge("The body is larger than a request for a token can be.")
    return parsed_body(bytes(body), TokenRequest)


def _is_forwarding(name: str) -> bool:
    return name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIXES)


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
            f"LOCAL_ISSUER_KEY_FILE: must hold a private key in PEM ({type(error).__name__})"
        ) from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < MIN_RSA_BITS:
        raise SettingsError(f"LOCAL_ISSUER_KEY_FILE: must hold an RSA key of {MIN_RSA_BITS} bits or more")
    return key
