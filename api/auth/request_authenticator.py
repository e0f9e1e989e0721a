"""Who makes a request: by a token in its Authorization header or a cookie, or as the site's AUTHENTICATE says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from starlette.requests import HTTPConnection

from relaykit.api.auth.authenticator import Authenticator, is_bearer, sole_header, unacceptable_cookie
from relaykit.api.auth.cross_site import CrossSiteCheck
from relaykit.api.auth.hook import AuthenticationHook
from relaykit.api.auth.identity import Identity
from relaykit.shared.errors import Unauthenticated
from relaykit.shared.site.authentication import AuthRequest


class RequestAuthenticator:
    """An Authorization header counts first, where tokens are taken; then the cookie TOKEN_COOKIE; then AUTHENTICATE.

    The first of them that the request has decides, so that no other is a way round it. What a browser may send of
    itself, which is everything but a bearer token, is taken from no page of another site.

    Local mode has tokens of its own, which the site's deployment does not have (`are_tokens_local`): there AUTHENTICATE
    is shown every other Authorization header, as it is in the deployment.
    """

    def __init__(
        self,
        tokens: Authenticator | None,
        cookie: str | None,
        hook: AuthenticationHook | None,
        cross_site: CrossSiteCheck,
        *,
        are_tokens_local: bool = False,
    ) -> None:
        self._tokens = tokens
        self._cookie = cookie
        self._hook = hook
        self._cross_site = cross_site
        self._are_tokens_local = are_tokens_local

    async def identify(self, request: HTTPConnection) -> Identity:
        """Raises Unauthenticated, IssuerUnavailable, CrossSiteRequest, and what AuthenticationHook.identify raises."""
        header = sole_header(request.headers.getlist("authorization"))
        if self._tokens is not None and header is not None and not await self._is_for_hook(header):
            return await self._tokens.authenticate(header)
        if self._cookie is None and self._hook is None:
            raise Unauthenticated
        if header is None or not is_bearer(header):
            self._cross_site.check(request.scope.get("method"), request.headers)
        cookies = _cookies(request)
        if self._tokens is not None and self._cookie is not None and self._cookie in cookies:
            values = cookies[self._cookie]
            if len(values) > 1:
                raise unacceptable_cookie()
            return await self._tokens.verify(values.pop())
        if self._hook is None:
            raise Unauthenticated
        return await self._hook.identify(_auth_request(request, cookies))

    async def _is_for_hook(self, authorization_header: str) -> bool:
        if self._tokens is None or self._hook is None or not self._are_tokens_local:
            return False
        return not await self._tokens.is_of_issuer(authorization_header)


def _auth_request(request: HTTPConnection, cookies: Mapping[str, set[str]]) -> AuthRequest:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        separator = "; " if name == "cookie" else ", "
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return AuthRequest(
        method=request.scope.get("method", "GET"),  # a WebSocket's has none in ASGI
        path=request.scope["path"],
        headers=headers,
        cookies={name: next(iter(values)) for name, values in cookies.items() if len(values) == 1},
        client=request.client.host if request.client else None,
    )


def _cookies(request: HTTPConnection) -> dict[str, set[str]]:
    """By name all its values: which of two counts must not depend on who reads them (RFC 6265, 4.2.2)."""
    found: dict[str, set[str]] = {}
    for name, value in _pairs(request.headers.getlist("cookie")):
        found.setdefault(name, set()).add(value)
    return found


def _pairs(fields: list[str]) -> Iterator[tuple[str, str]]:
    for field in fields:
        for pair in field.split(";"):
            name, equals, value = pair.strip(" \t").partition("=")
            if equals:
                value = value.strip(" \t")
                yield (
                    name.strip(" \t"),
                    value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value,
                )
