"""What another site makes a browser send is refused, where a browser's cookies may say who is calling.

As Go's net/http does it (CrossOriginProtection, Go 1.25): by Sec-Fetch-Site, which browsers have sent since 2023, else
by Origin. A request with neither comes from no browser, and so from no page.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from relaykit.shared.errors import CrossSiteRequest
from relaykit.shared.setting_types import origin_of
from relaykit.shared.settings import Settings

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""They change nothing, and CORS keeps their answers from other sites."""


class CrossSiteCheck:
    """Knows the origins whose pages may send a browser's cookies: the API's own, PUBLIC_URL's, and CORS_ORIGINS."""

    def __init__(self, settings: Settings) -> None:
        own = [settings.public_url] if settings.public_url else []
        self._origins = frozenset(origin_of(url) for url in (*settings.cors_origins, *own))

    def check(self, method: str | None, headers: Headers) -> None:
        """Raises CrossSiteRequest for a request that a page of another site makes.

        Without a method it opens a WebSocket: that is a GET, but CORS does not keep its messages from other sites.
        """
        if method in SAFE_METHODS:
            return
        origins = headers.getlist("origin")
        if len(origins) == 1 and origins[0].lower() in self._origins:
            return
        fetch_site = headers.getlist("sec-fetch-site")
        if fetch_site:
            if fetch_site in (["same-origin"], ["none"]):
                return
        elif not origins or _is_host(origins, headers.getlist("host")):
            return
        raise CrossSiteRequest


def _is_host(origins: Iterable[str], hosts: Iterable[str]) -> bool:
    """Whether the origin is of the host that is asked: the scheme is not known behind a proxy."""
    try:
        named = [urlsplit(origin).netloc.lower() for origin in origins]
    except ValueError:  # no URL at all
        return False
    return all(named) and named == [host.lower() for host in hosts]
