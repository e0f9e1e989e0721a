"""What every system of the tests would make anew, at tens of milliseconds of CPU each, is made once a process.

That is a TLS context with the certificates of the world, for each HTTP client, and the check of the issuer's key.
"""

from __future__ import annotations

from functools import cache

import httpx2._transports.default

import api.dev


def make_once() -> None:
    """Both depend on nothing but their arguments."""
    httpx2._transports.default.create_ssl_context = cache(httpx2._transports.default.create_ssl_context)
    api.dev.load_pem_private_key = cache(api.dev.load_pem_private_key)  # type: ignore[attr-defined]
