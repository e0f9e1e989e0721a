"""What every system of the tests would make anew, at tens of milliseconds of CPU each, is made once a process.

That is a TLS context with the certificates of the world, for each HTTP client, and the check of the issuer's key.
"""

from __future__ import annotations

from functools import cache

import httpx2._transports.default

from relaykit.api.local import issuer as dev


def make_once() -> None:
    """Both depend on nothing but their arguments."""
    httpx2._transports.default.create_ssl_context = cache(httpx2._transports.default.create_ssl_context)
    dev.load_pem_private_key = cache(dev.load_pem_private_key)  # type: ignore[attr-defined]
