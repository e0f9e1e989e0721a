"""The site's AUTHENTICATE: asked on the loop of the site's code, and believed for as long as it says."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from typing import Final

import structlog

from relaykit.api.auth.identity import Identity
from relaykit.api.metrics import AUTHENTICATE_CALLS
from relaykit.shared.errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    RelaykitError,
    ServerRefused,
    Unauthenticated,
)
from relaykit.shared.log import failure
from relaykit.shared.site.authentication import (
    EVERYTHING,
    Authenticate,
    AuthenticatedUser,
    AuthRequest,
    Read,
    claims_json,
)
from relaykit.shared.site.refusals import server_refusals
from relaykit.shared.site.user_server import CodeLoop

MAX_ANSWERS: Final = 1_024
"""Each of up to 32 KiB: claims and a token."""
MAX_READS: Final = 16
"""Kinds of answers: by what of the request AUTHENTICATE has read for them."""
REFUSED_SECONDS: Final = 1.0
"""How long a refusal is kept, so that a page's many requests at once ask once."""
MAX_CALLS: Final = 100
"""Calls of AUTHENTICATE at the same time; others wait, for its time at most."""

Answer = Identity | ServerRefused | None

log = structlog.get_logger()


class KeptAnswers:
    """Answers by the parts of a request that they depend on, for their time. Nothing of a request is kept in clear.

    AUTHENTICATE has read the same parts in the same order for a request that is equal in them, so it would answer the
    same. Pure but for the clock that it is given.
    """

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[tuple[Read, ...], bytes], tuple[float, Answer]] = OrderedDict()
        self._reads: OrderedDict[tuple[Read, ...], None] = OrderedDict()
        """The kinds of answers, that of the newest one last."""

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, request: AuthRequest, now: float) -> tuple[Answer] | None:
        """The answer in a tuple, because None is an answer too."""
        for reads in self._reads:
            known = self._answers.get((reads, request.digest(reads)))
            if known is not None and now < known[0]:
                return (known[1],)
        return None

    def keep(
        self, request: AuthRequest, reads: tuple[Read, ...], answer: Answer, until: float, now: float
    ) -> None:
        key = (reads, request.digest(reads))
        self._answers[key] = (until, answer)
        self._answers.move_to_end(key)
        self._reads[reads] = None
        self._reads.move_to_end(reads)
        while self._answers and (
            len(self._answers) > MAX_ANSWERS or next(iter(self._answers.values()))[0] <= now
        ):
            self._answers.popitem(last=False)
        if len(self._reads) > MAX_READS:
            self._reads.popitem(last=False)

    def key(self, request: AuthRequest) -> bytes:
        """Equal for two requests for which the answer is probably the same: by what was read for the newest one."""
        return request.digest(next(reversed(self._reads), EVERYTHING))


class AuthenticationHook:
    """Asks AUTHENTICATE once for equal requests, also where they come at once."""

    def __init__(self, authenticate: Authenticate, loop: CodeLoop, seconds: float) -> None:
        self._authenticate = authenticate
        self._loop = loop
        self._seconds = seconds
        self._kept = KeptAnswers()
        self._asking: dict[bytes, asyncio.Future[bool]] = {}
        """Calls under way, which end with whether they were given up."""
        self._places = asyncio.Semaphore(MAX_CALLS)

    async def identify(self, request: AuthRequest) -> Identity:
        """Who makes the request.

        Raises Unauthenticated where the site knows no such caller, ServerRefused in the site's words,
        AuthenticationTimeout and ServerBlocked where the site's code does not answer, AuthenticationFailed for whatever
        else it does.
        """
        answer = await self._answer(request)
        if answer is None:
            raise Unauthenticated("AUTHENTICATE does not know the caller.")
        if isinstance(answer, ServerRefused):
            raise _again(answer)  # a new one, because each raise adds to the traceback of its object
        return answer

    async def _answer(self, request: AuthRequest) -> Answer:
        try:
            async with asyncio.timeout(self._seconds) as timeout:
                if (known := self._kept.find(request, time.time())) is not None:
                    return known[0]
                key = self._kept.key(request)
                asking = self._asking.get(key)
                if asking is not None:
                    await asyncio.wait([asking])
                    if asking.result() and self._is_late(timeout):
                        raise AuthenticationTimeout
                    if (known := self._kept.find(request, time.time())) is not None:
                        return known[0]
                return await self._ask(request, key, timeout)
        except RelaykitError as error:
            if type(error) is RelaykitError and isinstance(error.__cause__, Exception):
                raise self._failed(error.__cause__) from error  # an HTTPException that is no refusal
            raise
        except TimeoutError as error:
            if timeout.expired():
                AUTHENTICATE_CALLS.labels("timeout").inc()
                raise AuthenticationTimeout from error
            raise self._failed(error) from error
        except Exception as error:
            raise self._failed(error) from error

    def _is_late(self, timeout: asyncio.Timeout) -> bool:
        """A call that hung has taken most of the time of this one too; another would be given up as well."""
        ends_at = timeout.when()
        return ends_at is not None and ends_at - asyncio.get_running_loop().time() < self._seconds / 2

    async def _ask(self, request: AuthRequest, key: bytes, timeout: asyncio.Timeout) -> Answer:
        asked = asyncio.get_running_loop().create_future()
        self._asking.setdefault(key, asked)
        try:
            async with self._places:
                answer: Answer = await self._loop.call(lambda: self._call(request))
        except ServerRefused as refused:  # without its traceback, which has the request in it
            answer = _again(refused)
        finally:
            if self._asking.get(key) is asked:
                del self._asking[key]
            asked.set_result(timeout.expired())
        now = time.time()
        if isinstance(answer, Identity):
            outcome, until = "known", answer.expires_at
        else:
            outcome, until = "unknown" if answer is None else "refused", now + REFUSED_SECONDS
        AUTHENTICATE_CALLS.labels(outcome).inc()
        if request.reads:  # else it would be everybody's answer
            self._kept.keep(request, request.reads, answer, until, now)
        return answer

    async def _call(self, request: AuthRequest) -> Identity | None:
        """On the loop of the site's code, with all that is the site's: an answer's claims are objects of its own."""
        with server_refusals():
            user = await self._authenticate(request)
            if user is None:
                return None
            if type(user) is not AuthenticatedUser:
                raise TypeError(f"it gave a {type(user).__name__}, not an AuthenticatedUser or None")
            return _identity(user, time.time())

    @staticmethod
    def _failed(error: Exception) -> AuthenticationFailed:
        AUTHENTICATE_CALLS.labels("failed").inc()
        log.error(
            "AUTHENTICATE failed: the request is refused",
            action="authenticate_failed",
            **failure(error),
        )
        return AuthenticationFailed()


def _again(refused: ServerRefused) -> ServerRefused:
    return ServerRefused(
        refused.message,
        status=refused.status,
        detail=refused.detail,
        retry_after_seconds=refused.retry_after_seconds,
    )


def _identity(user: AuthenticatedUser, now: float) -> Identity:
    return Identity(
        user_id=user.user_id,
        tenant=user.tenant,
        tier=user.tier,
        claims=json.loads(claims_json(user.claims)),  # a copy, because the site's code goes on to have them
        token=user.token or "",
        expires_at=now + user.valid_seconds,
    )
