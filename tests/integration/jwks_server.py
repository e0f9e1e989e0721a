"""An issuer for tests: real keys, and a real HTTP server on loopback that serves their public halves."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from relaykit.shared.settings import Settings

ISSUER = "https://issuer.test"
AUDIENCE = "relaykit"


@dataclass(frozen=True)
class SigningKey:
    """A key pair of the issuer's."""

    kid: str | None
    algorithm: str
    private: Any

    def jwk(self, **members: object) -> dict[str, Any]:
        """The public half as an entry of a key set; a member given as None is left out."""
        codec = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}[self.algorithm]
        public = json.loads(codec.to_jwk(self.private.public_key()))
        public.pop("key_ops", None)
        entry = public | {"kid": self.kid, "use": "sig", "alg": self.algorithm} | members
        return {name: value for name, value in entry.items() if value is not None}

    def pem(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def token(self, *, headers: dict[str, Any] | None = None, **claims: object) -> str:
        """A token that is good unless `claims` says otherwise; a claim or header given as None is left out."""
        header = {"kid": self.kid} | (headers or {})
        return jwt.encode(
            good_claims(**claims),
            self.private,
            algorithm=self.algorithm,
            headers={name: value for name, value in header.items() if value is not None},
        )


def signing_key(kid: str | None = "k1", algorithm: str = "RS256", bits: int = 2048) -> SigningKey:
    """The same pair for the same arguments, so that a test run makes each only once."""
    return _made_once(kid, algorithm, bits)


@lru_cache
def _made_once(kid: str | None, algorithm: str, bits: int) -> SigningKey:
    match algorithm:
        case "RS256":
            private: Any = rsa.generate_private_key(65537, bits)
        case "ES256":
            private = ec.generate_private_key(ec.SECP256R1())
        case _:
            private = ed25519.Ed25519PrivateKey.generate()
    return SigningKey(kid, algorithm, private)


def good_claims(**changes: object) -> dict[str, Any]:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600} | changes
    return {name: value for name, value in claims.items() if value is not None}


def raw_token(header: object, payload: object, signature: bytes = b"sig") -> str:
    """A token put together by hand, for what no library would sign."""

    def part(value: object) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    return f"{part(header)}.{part(payload)}.{part(signature)}"


class JwksServer:
    """Serves `keys` at `url` and counts the fetches; `answer`, where set, answers instead."""

    def __init__(self, *keys: SigningKey) -> None:
        self.entries: list[Any] = [key.jwk() for key in keys]
        self.fetches = 0
        self.requests: list[dict[str, str]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.released = threading.Event()
        """Set at the end, so that an answer that waits for it ends too."""
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/keys"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.stop()

    def serve(self, *keys: SigningKey) -> None:
        self.entries = [key.jwk() for key in keys]

    def start(self) -> None:
        """Listens; after a stop, on the same port again."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with server._lock:
                    server.fetches += 1
                    server.requests.append({name.lower(): value for name, value in self.headers.items()})
                if server.answer is not None:
                    server.answer(self)
                else:
                    respond(self, json.dumps({"keys": server.entries}).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Listens no more: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def respond(
    handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, headers: dict[str, str] | None = None
) -> None:
    handler.send_response(status)
    for name, value in (
        {"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {})
    ).items():
        handler.send_header(name, value)
    handler.end_headers()
    with contextlib.suppress(ConnectionError):  # the client had read enough
        handler.wfile.write(body)


def settings_for(server: JwksServer, **changes: object) -> Settings:
    """Settings whose issuer is `server`. Redis and Postgres are named, and not there."""
    values: dict[str, Any] = {
        "redis_url": "redis://127.0.0.1:1",
        "database_url": "postgresql://127.0.0.1:1/none",
        "jwks_url": server.url,
        "jwt_issuer": ISSUER,
        "jwt_audience": AUDIENCE,
        "jwt_leeway_seconds": 0,
        "shutdown_delay_seconds": 0,
    }
    return Settings(**(values | changes))
