"""The key of tokens that the site signs itself with a secret, by HS256."""

from __future__ import annotations

import base64
from typing import Final

import jwt


class SharedSecret:
    """One key, whatever id a token names: a site has one secret, and most libraries for it name none."""

    algorithms: Final = ("HS256",)

    def __init__(self, secret: str) -> None:
        encoded = base64.urlsafe_b64encode(secret.encode(errors="surrogateescape")).rstrip(b"=")
        self._key = jwt.PyJWK({"kty": "oct", "k": encoded.decode(), "alg": "HS256"})

    async def key(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key. The algorithm is HS256: no other is allowed."""
        return self._key

    async def renewed(self, refused: jwt.PyJWK, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """There is no other."""
        return None
