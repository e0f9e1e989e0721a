"""Which requests of a browser come from the site's own pages."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from relaykit.api.auth.cross_site import CrossSiteCheck
from relaykit.shared.errors import CrossSiteRequest
from relaykit.shared.settings import Settings

HOST = ("host", "api.shop.example")
SAME, CROSS, SAME_SITE, NONE = (
    ("sec-fetch-site", value) for value in ("same-origin", "cross-site", "same-site", "none")
)
OWN, LISTED, EVIL, OTHER_PORT = (
    ("origin", value)
    for value in (
        "https://api.shop.example",
        "https://shop.example",
        "https://evil.example",
        "https://api.shop.example:8443",
    )
)
PUBLIC = ("origin", "https://chat.example")

Field = tuple[str, str]


@pytest.fixture
def check() -> CrossSiteCheck:
    settings = Settings.model_construct(
        cors_origins=("https://Shop.example:443/",), public_url="https://chat.example/relay"
    )
    return CrossSiteCheck(settings)


@pytest.mark.parametrize(
    "fields",
    [
        [HOST, SAME, OWN],
        [HOST, SAME],
        [HOST, NONE],
        [HOST, OWN],
        [HOST, ("origin", "HTTPS://API.SHOP.EXAMPLE")],
        [HOST],
        [HOST, CROSS, LISTED],
        [HOST, SAME_SITE, LISTED],
        [HOST, LISTED],
        [HOST, SAME_SITE, PUBLIC],
        [("host", "internal:8000"), PUBLIC],
    ],
)
def test_the_sites_own_pages_and_what_is_no_browser_pass(check: CrossSiteCheck, fields: list[Field]) -> None:
    check.check("POST", headers(fields))
    check.check(None, headers(fields))


@pytest.mark.parametrize(
    "fields",
    [
        [HOST, CROSS, EVIL],
        [HOST, CROSS],
        [HOST, CROSS, OWN],
        [HOST, SAME_SITE],
        [HOST, SAME_SITE, EVIL],
        [HOST, EVIL],
        [HOST, OTHER_PORT],
        [HOST, ("origin", "null")],
        [HOST, ("origin", "http://shop.example")],
        [HOST, ("origin", "https://shop.example.evil.example")],
        [HOST, ("origin", "")],
        [HOST, ("origin", "http://[")],
        [("host", ""), ("origin", "null")],
        [HOST, LISTED, EVIL],
        [HOST, SAME, CROSS],
        [HOST, ("sec-fetch-site", "")],
        [HOST, ("sec-fetch-site", "Same-Origin-not")],
        [OWN],
    ],
)
def test_another_sites_pages_do_not(check: CrossSiteCheck, fields: list[Field]) -> None:
    """Nor may they open a WebSocket, which has no method."""
    for method in ("POST", None):
        with pytest.raises(CrossSiteRequest):
            check.check(method, headers(fields))
    check.check("GET", headers(fields))


def headers(fields: list[Field]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode()) for name, value in fields])
