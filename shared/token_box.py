"""The caller's own token at rest: sealed for the time between admission and the end of its run."""

from __future__ import annotations

import base64
import binascii
import os
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relaykit.shared.errors import SettingsError, TokenUnreadable

KEY_BYTES = 32
NONCE_BYTES = 12
VERSION = b"\x01"

_BASE64 = re.compile(r"[A-Za-z0-9_-]+={0,2}|[A-Za-z0-9+/]+={0,2}")


class TokenBox:
    """Seals tokens with AES-256-GCM, each bound to its run, so that a blob moved to another row does not open.

    `keys` is FORWARD_TOKEN_KEY: base64 of 32 random bytes, or several of them, separated by commas. The first one
    seals, all of them open. To change the key, put the new one in front and keep the old one until the runs that were
    sealed with it have ended. Nonces are random, so change it before 2**32 runs.

    A blob is a version byte, the nonce of 12 bytes, the ciphertext and its tag.
    """

    def __init__(self, keys: str) -> None:
        """Raises SettingsError, which never shows a key."""
        self._ciphers = [AESGCM(_key(text.strip())) for text in keys.split(",")]

    @classmethod
    def of(cls, keys: str | None) -> TokenBox | None:
        """None without FORWARD_TOKEN_KEY: tokens are not forwarded. Raises SettingsError."""
        return cls(keys) if keys else None

    def seal(self, run_id: str, token: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return VERSION + nonce + self._ciphers[0].encrypt(nonce, token.encode(), _bound_to(run_id))

    def open(self, run_id: str, blob: bytes) -> str:
        """Raises TokenUnreadable where no key opens the blob as that of this run."""
        if blob[:1] != VERSION:
            raise TokenUnreadable
        nonce, sealed = blob[1 : 1 + NONCE_BYTES], blob[1 + NONCE_BYTES :]
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, sealed, _bound_to(run_id)).decode()
            except (InvalidTag, ValueError):
                continue
        raise TokenUnreadable


def _bound_to(run_id: str) -> bytes:
    return b"relaykit run token:" + run_id.encode()


def _key(text: str) -> bytes:
    problem = f"FORWARD_TOKEN_KEY: each key is the base64 of {KEY_BYTES} random bytes"
    if _BASE64.fullmatch(text) is None:
        raise SettingsError(problem)
    unpadded = text.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        key = base64.urlsafe_b64decode(unpadded + "=" * (-len(unpadded) % 4))
    except binascii.Error:
        raise SettingsError(problem) from None
    if len(key) != KEY_BYTES:
        raise SettingsError(problem)
    return key
