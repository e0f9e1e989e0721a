"""The issuer's keys: fetched over HTTP, cached, and kept while the issuer is away."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx2
import jwt
import structlog

from relaykit.api.auth.content_coding import ACCEPTED, ContentCodingError, decoded
from relaykit.api.auth.key_set import KeySet, KeySetError, parse_key_set
from relaykit.shared.errors import IssuerUnavailable
from relaykit.shared.settings import LOOPBACK_HOSTS, Settings
from relaykit.shared.version import VERSION

MAX_KEY_SET_BYTES = 256 * 1024
"""As it is sent, and again when it is decompressed."""
HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": ACCEPTED,
    "User-Agent": f"relaykit/{VERSION}",  # firewalls refuse the names of HTTP libraries
}

log = structlog.get_logger()


class JwksClient:
    """Finds the key that verifies a token.

    The key set is fetched at the first need, and again when it is older than JWKS_CACHE_SECONDS, does not hold the
    key id asked for, or holds a key that a token's signature does not fit. One fetch runs at a time for all that wait
    for it, and none begins sooner than JWKS_COOLDOWN_SECONDS after the last one ended, in success or failure: an
    unknown key id or a wrong signature, which any client can make up, costs the issuer no more than that.

    A request with a known key waits for the issuer only where the keys are older than twice JWKS_CACHE_SECONDS, so
    that no request came while they could be renewed in the background: a key that the issuer has withdrawn is not
    honoured for longer than that. A fetch that fails changes nothing: the keys at hand go on being used, however old,
    and while that lasts no request with a known key waits. An answer without one usable key counts as a failure too.
    Redirects are not followed, and the answer must come whole within JWKS_TIMEOUT_SECONDS.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        assert settings.jwks_url is not None
        self._url = settings.jwks_url
        self._http: httpx2.AsyncClient | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._keys: KeySet | None = None
        self._answer = b""
        self._fetched_at = 0.0
        self._attempt_ended_at = float("-inf")
        self._failing = False

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Those of JWT_ALGORITHMS: asymmetric ones alone."""
        return self._settings.jwt_algorithms

    async def __aenter__(self) -> Self:
        on_loopback = urlsplit(self._url).hostname in LOOPBACK_HOSTS
        self._http = httpx2.AsyncClient(
            follow_redirects=False,
            timeout=self._settings.jwks_timeout_seconds,
            trust_env=not on_loopback,  # a proxy of the environment cannot reach this machine's loopback
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        if self._http is not None:
            await self._http.aclose()

    async def key(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The issuer's key of that id and algorithm, None when there is none.

        Without an id, the one key of the set that fits the algorithm; None when several do. That never causes a
        fetch, so an issuer that leaves ids out is followed at the pace of JWKS_CACHE_SECONDS.

        Raises IssuerUnavailable when no key set was ever fetched, or when the id is unknown and the issuer, who alone
        could tell whether it is new, is away.
        """
        keys = await self._current()
        if kid is None or kid in keys:
            return keys.find(kid, algorithm)
        await self._refresh()
        keys = self._keys or keys
        if kid not in keys and self._failing:
            raise self._unavailable()
        return keys.find(kid, algorithm)

    async def renewed(self, refused: jwt.PyJWK, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Another key of that id and algorithm than `refused`, where a new fetch gives one.

        For a token that `refused` did not sign: an issuer may renew a key and keep its id.
        """
        await self._refresh()
        key = self._keys.find(kid, algorithm) if self._keys is not None else None
        return None if key is refused else key

    async def _current(self) -> KeySet:
        age_seconds = time.monotonic() - self._fetched_at
        if self._keys is None:
            await self._refresh()
        elif age_seconds > self._settings.jwks_cache_seconds:
            if self._failing or age_seconds <= 2 * self._settings.jwks_cache_seconds:
                self._begin()
            else:
                await self._refresh()
        if self._keys is None:
            raise self._unavailable()
        return self._keys

    async def _refresh(self) -> None:
        """Waits for the fetch that is under way, or for a new one where the cool-down allows it."""
        self._begin()
        if self._fetching is not None:
            await asyncio.wait([self._fetching])

    def _begin(self) -> None:
        if self._fetching is None and self._cooldown_left_seconds() <= 0:
            self._fetching = asyncio.create_task(self._fetch(), name="jwks-fetch")

    def _cooldown_left_seconds(self) -> float:
        return self._attempt_ended_at + self._settings.jwks_cooldown_seconds - time.monotonic()

    def _unavailable(self) -> IssuerUnavailable:
        return IssuerUnavailable(retry_after_seconds=max(1.0, self._cooldown_left_seconds()))

    async def _fetch(self) -> None:
        try:
            answer = await self._download()
            # unless it is another one, what was verified with the keys stays verified
            if self._keys is None or answer != self._answer:
                self._keys, self._answer = parse_key_set(answer, self._settings.jwt_algorithms), answer
        except Exception as error:  # there may be no request that waits, so nothing is raised: the log has it
            is_ours = isinstance(error, (KeySetError, ContentCodingError))
            reason = str(error) if is_ours else type(error).__name__
            self._note_failure(reason)
        else:
            self._fetched_at = time.monotonic()
            if self._failing:
                log.info("the issuer's keys were fetched again", action="jwks_fetch_recovered")
            self._failing = False
        finally:
            self._attempt_ended_at = time.monotonic()
            self._fetching = None

    def _note_failure(self, reason: str) -> None:
        self._failing = True
        log.warning(
            "the issuer's keys could not be fetched: the ones that are kept are used meanwhile",
            action="jwks_fetch_failed",
            reason=reason,
            keys_kept=len(self._keys or ()),
            keys_age_seconds=round(time.monotonic() - self._fetched_at) if self._keys else None,
        )

    async def _download(self) -> bytes:
        if self._http is None:
            raise KeySetError("the client is not open")
        body = bytearray()
        async with (
            asyncio.timeout(self._settings.jwks_timeout_seconds),
            self._http.stream("GET", self._url, headers=HEADERS) as response,
        ):
            if response.status_code != 200:
                raise KeySetError(f"HTTP status {response.status_code}")
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_KEY_SET_BYTES:
                    raise KeySetError(f"larger than {MAX_KEY_SET_BYTES} bytes")
        return decoded(bytes(body), response.headers.get("Content-Encoding", ""), MAX_KEY_SET_BYTES)
