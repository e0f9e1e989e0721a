"""How the issuer's keys are fetched, cached, rotated and kept, over HTTP from a real server."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from contextlib import asynccontextmanager

import pytest
from jwt.algorithms import RSAAlgorithm
from structlog.testing import capture_logs

from relaykit.api.auth.authenticator import Authenticator
from relaykit.api.auth.jwks import MAX_KEY_SET_BYTES, JwksClient
from relaykit.api.auth.key_set import MAX_KEYS
from relaykit.shared.errors import IssuerUnavailable, Unauthenticated
from relaykit.shared.version import VERSION
from tests.integration.jwks_server import JwksServer, respond, settings_for, signing_key
from tests.support.system import WAIT_SECONDS, wait_until

NEVER = 3600.0
AT_ONCE = 0.001


@pytest.fixture
def issuer():
    with JwksServer(signing_key()) as server:
        yield server


class Clock:
    """The client's, which goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("relaykit.api.auth.jwks.time", clock)
    return clock


@asynccontextmanager
async def authenticator(server: JwksServer, **changes):
    settings = settings_for(server, **changes)
    async with JwksClient(settings) as jwks:
        yield Authenticator(settings, jwks)


def bearer(kid: str = "k1", **claims: object) -> str:
    return f"Bearer {signing_key(kid).token(**claims)}"


async def refuse(auth: Authenticator, header: str) -> str | None:
    with pytest.raises(Unauthenticated) as caught:
        await auth.authenticate(header)
    return caught.value.reason


# Fetching


async def test_nothing_is_fetched_before_the_first_token_comes(issuer):
    async with authenticator(issuer):
        pass
    assert issuer.fetches == 0


async def test_a_thousand_simultaneous_requests_make_one_fetch(issuer):
    async with authenticator(issuer) as auth:
        headers = [bearer(sub=f"user{n % 20}") for n in range(20)] * 50
        identities = await asyncio.gather(*(auth.authenticate(header) for header in headers))
    assert len(identities) == 1000
    assert issuer.fetches == 1


async def test_a_thousand_simultaneous_unknown_keys_make_one_fetch_more(issuer, clock):
    async with authenticator(issuer, jwks_cooldown_seconds=0.5) as auth:
        await auth.authenticate(bearer())
        clock.passes(0.5)
        header = bearer("stranger")
        results = await asyncio.gather(
            *(auth.authenticate(header) for _ in range(1000)), return_exceptions=True
        )
    assert all(isinstance(result, Unauthenticated) for result in results)
    assert issuer.fetches == 2


async def test_the_event_loop_goes_on_while_the_issuer_is_slow(issuer):
    issuer.answer = hang(issuer)
    async with authenticator(issuer, jwks_timeout_seconds=30) as auth:
        waiting = asyncio.create_task(auth.authenticate(bearer()))
        await wait_until("the fetch has reached the issuer", lambda: issuer.fetches == 1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()


async def test_a_caller_that_gives_up_does_not_end_the_fetch_that_others_wait_for(issuer):
    issuer.answer = lambda handler: (
        issuer.released.wait(WAIT_SECONDS),
        respond(handler, json.dumps({"keys": issuer.entries}).encode()),
    )
    async with authenticator(issuer, jwks_timeout_seconds=30) as auth:
        first = asyncio.create_task(auth.authenticate(bearer()))
        await wait_until("the fetch has reached the issuer", lambda: issuer.fetches == 1)
        second = asyncio.create_task(auth.authenticate(bearer()))
        await asyncio.sleep(0)
        first.cancel()
        issuer.released.set()
        assert (await second).user_id == "alice"
    assert issuer.fetches == 1


async def test_closing_ends_a_fetch_that_is_under_way(issuer):
    issuer.answer = hang(issuer)
    async with asyncio.timeout(WAIT_SECONDS):
        async with authenticator(issuer, jwks_timeout_seconds=30) as auth:
            waiting = asyncio.create_task(auth.authenticate(bearer()))
            await wait_until("the fetch has reached the issuer", lambda: issuer.fetches == 1)
        with pytest.raises(IssuerUnavailable):
            await waiting


async def test_a_proxy_of_the_environment_is_not_asked_for_an_issuer_on_loopback(issuer, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with authenticator(issuer) as auth:
        assert await auth.authenticate(bearer())


# The cache and rotation


async def test_the_keys_are_cached(issuer):
    async with authenticator(issuer, jwks_cooldown_seconds=AT_ONCE) as auth:
        for number in range(20):
            await auth.authenticate(bearer(sub=f"user{number}"))
    assert issuer.fetches == 1


async def test_the_keys_are_fetched_again_when_their_time_is_over(issuer, clock):
    async with authenticator(issuer, jwks_cache_seconds=0.5, jwks_cooldown_seconds=AT_ONCE) as auth:
        await auth.authenticate(bearer())
        clock.passes(0.51)
        await auth.authenticate(bearer())
        await wait_until("the keys are fetched again", lambda: issuer.fetches == 2)


async def test_no_request_waits_for_an_issuer_that_hangs_once_the_keys_time_is_over(issuer, clock):
    """The issuer is not known to be away then: the first request after JWKS_CACHE_SECONDS finds it out."""
    async with authenticator(
        issuer, jwks_cache_seconds=1, jwks_cooldown_seconds=AT_ONCE, jwks_timeout_seconds=60
    ) as auth:
        await auth.authenticate(bearer())
        issuer.answer = hang(issuer)
        clock.passes(1.01)
        await asyncio.wait_for(auth.authenticate(bearer(sub="bob")), 30)
        await asyncio.wait_for(auth.authenticate(bearer(sub="carol")), 30)
        await wait_until("a fetch is under way meanwhile", lambda: issuer.fetches == 2)


async def test_keys_that_no_request_has_asked_for_in_twice_their_time_are_fetched_before_they_are_used(
    issuer, clock
):
    """So a key that the issuer has withdrawn is never honoured for longer, however quiet the process was."""
    async with authenticator(issuer, jwks_cache_seconds=0.2, jwks_cooldown_seconds=AT_ONCE) as auth:
        await auth.authenticate(bearer())
        issuer.serve(signing_key("k2"))
        clock.passes(0.41)
        assert await refuse(auth, bearer()) == "unknown_key"


async def test_a_fetch_in_the_background_ends_with_the_client(issuer, clock):
    issuer.answer = None
    async with asyncio.timeout(WAIT_SECONDS):
        async with authenticator(
            issuer, jwks_cache_seconds=0.2, jwks_cooldown_seconds=AT_ONCE, jwks_timeout_seconds=60
        ) as auth:
            await auth.authenticate(bearer())
            issuer.answer = hang(issuer)
            clock.passes(0.21)
            await auth.authenticate(bearer(sub="bob"))
            await wait_until("a fetch is under way", lambda: issuer.fetches == 2)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "jwks-fetch"]


async def test_what_was_verified_stays_so_through_a_fetch_that_brings_the_same_keys(issuer, clock):
    async with authenticator(issuer, jwks_cooldown_seconds=AT_ONCE) as auth:
        first = await auth.authenticate(token := bearer())
        clock.passes(0.01)
        assert await refuse(auth, bearer("stranger")) == "unknown_key"
        assert issuer.fetches == 2
        assert await auth.authenticate(token) is first


@pytest.mark.parametrize("kid", ["k1", None])
async def test_a_key_that_is_renewed_under_its_old_id_is_found_by_the_first_token_it_signs(
    issuer, kid, clock
):
    """Without ids as well, where the one key of the algorithm is another one by now."""
    issuer.entries = [signing_key("k1").jwk(kid=kid)]
    old, new = (signing_key(name).token(headers={"kid": kid}) for name in ("k1", "k2"))
    async with authenticator(issuer, jwks_cache_seconds=NEVER, jwks_cooldown_seconds=AT_ONCE) as auth:
        await auth.authenticate(f"Bearer {old}")
        issuer.entries = [signing_key("k2").jwk(kid=kid)]
        clock.passes(0.01)
        assert (await auth.authenticate(f"Bearer {new}")).user_id == "alice"
        assert await refuse(auth, f"Bearer {old}") == "signature"


async def test_a_wrong_signature_makes_the_issuer_asked_once_in_each_cooldown(issuer, clock):
    forged = [signing_key("stranger").token(headers={"kid": "k1"}, sub=f"user{n}") for n in range(20)]
    async with authenticator(issuer, jwks_cooldown_seconds=0.3) as auth:
        await auth.authenticate(bearer())
        for expected in (1, 2, 3):
            for token in forged:
                assert await refuse(auth, f"Bearer {token}") == "signature"
            assert issuer.fetches == expected
            clock.passes(0.31)


async def test_a_wrong_signature_is_the_callers_fault_though_the_issuer_is_away(issuer, clock):
    async with authenticator(issuer, jwks_cooldown_seconds=AT_ONCE) as auth:
        await auth.authenticate(bearer())
        issuer.stop()
        clock.passes(0.01)
        forged = signing_key("stranger").token(headers={"kid": "k1"})
        assert await refuse(auth, f"Bearer {forged}") == "signature"


async def test_a_new_key_is_found_and_the_old_one_stays_good_while_it_is_served(issuer, clock):
    async with authenticator(issuer, jwks_cooldown_seconds=AT_ONCE) as auth:
        await auth.authenticate(bearer())
        issuer.serve(signing_key(), signing_key("k2"))
        clock.passes(0.01)
        assert await auth.authenticate(bearer("k2"))
        assert await auth.authenticate(bearer("k1", sub="another"))
    assert issuer.fetches == 2


async def test_a_key_that_is_no_longer_served_is_refused_after_the_next_fetch(issuer, clock):
    async with authenticator(issuer, jwks_cooldown_seconds=AT_ONCE) as auth:
        await auth.authenticate(bearer())
        issuer.serve(signing_key("k2"))
        clock.passes(0.01)
        assert await auth.authenticate(bearer("k2"))
        assert await refuse(auth, bearer("k1")) == "unknown_key"


async def test_an_unknown_key_is_not_looked_for_during_the_cooldown(issuer):
    async with authenticator(issuer, jwks_cooldown_seconds=NEVER) as auth:
        await auth.authenticate(bearer())
        for number in range(50):
            assert await refuse(auth, bearer("stranger", sub=f"user{number}")) == "unknown_key"
    assert issuer.fetches == 1


async def test_an_unknown_key_is_looked_for_once_after_each_cooldown(issuer, clock):
    async with authenticator(issuer, jwks_cooldown_seconds=0.3) as auth:
        await auth.authenticate(bearer())
        for expected in (2, 3):
            clock.passes(0.31)
            for number in range(5):
                assert await refuse(auth, bearer("stranger", sub=f"user{number}")) == "unknown_key"
            assert issuer.fetches == expected


# The issuer is away


async def test_without_any_keys_an_issuer_that_is_away_is_told_with_a_time_to_retry():
    server = JwksServer(signing_key())
    with server:
        server.stop()
        async with authenticator(server, jwks_cooldown_seconds=20) as auth:
            with pytest.raises(IssuerUnavailable) as caught:
                await auth.authenticate(bearer())
    assert 1 <= caught.value.retry_after_seconds <= 20


async def test_an_issuer_that_comes_back_is_found(issuer, clock):
    issuer.stop()
    async with authenticator(issuer, jwks_cooldown_seconds=0.05) as auth:
        with pytest.raises(IssuerUnavailable):
            await auth.authenticate(bearer())
        issuer.start()
        clock.passes(0.06)
        with capture_logs() as lines:
            assert await auth.authenticate(bearer())
    assert "jwks_fetch_recovered" in {line["action"] for line in lines}


async def test_failed_fetches_count_for_the_cooldown(issuer):
    issuer.answer = lambda handler: respond(handler, b"", 500)
    async with authenticator(issuer, jwks_cooldown_seconds=NEVER) as auth:
        for _ in range(20):
            with pytest.raises(IssuerUnavailable):
                await auth.authenticate(bearer())
    assert issuer.fetches == 1


async def test_the_keys_are_kept_through_an_outage_however_long_and_the_log_says_so(issuer, clock):
    async with authenticator(issuer, jwks_cache_seconds=0.02, jwks_cooldown_seconds=0.02) as auth:
        await auth.authenticate(bearer())
        issuer.stop()
        with capture_logs() as lines:
            for number in range(10):
                clock.passes(0.02)
                assert await auth.authenticate(bearer(sub=f"user{number}"))
    failures = [line for line in lines if line["action"] == "jwks_fetch_failed"]
    assert failures
    assert failures[0]["keys_kept"] == 1
    assert issuer.url not in str(lines)


async def test_in_an_outage_nobody_with_a_known_key_waits_for_the_issuer(issuer, clock):
    async with authenticator(
        issuer, jwks_cache_seconds=0.02, jwks_cooldown_seconds=0.02, jwks_timeout_seconds=60
    ) as auth:
        await auth.authenticate(bearer())
        issuer.answer = lambda handler: respond(handler, b"", 500)
        clock.passes(0.05)
        await auth.authenticate(bearer())  # the one that notices
        issuer.answer = hang(issuer)
        clock.passes(0.03)
        fetches = issuer.fetches
        await asyncio.wait_for(auth.authenticate(bearer(sub="bob")), 30)
        await wait_until("a fetch is tried in the background", lambda: issuer.fetches > fetches)


async def test_an_unknown_key_in_an_outage_is_the_issuers_fault_and_not_the_callers(issuer, clock):
    async with authenticator(issuer, jwks_cooldown_seconds=0.02) as auth:
        await auth.authenticate(bearer())
        issuer.stop()
        clock.passes(0.03)
        with pytest.raises(IssuerUnavailable):
            await auth.authenticate(bearer("k2"))
        assert await auth.authenticate(bearer("k1", sub="bob"))


# Answers that are none


async def unavailable(server: JwksServer, **changes) -> str:
    """The reason that the log gives for a fetch that failed."""
    async with authenticator(server, **changes) as auth:
        with capture_logs() as lines, pytest.raises(IssuerUnavailable):
            await auth.authenticate(bearer())
    return next(line["reason"] for line in lines if line["action"] == "jwks_fetch_failed")


async def test_a_redirect_is_not_followed(issuer):
    with JwksServer(signing_key()) as other:
        issuer.answer = lambda handler: respond(handler, b"", 302, {"Location": other.url})
        assert await unavailable(issuer) == "HTTP status 302"
    assert other.fetches == 0


async def test_an_error_status_is_no_key_set_whatever_its_body_holds(issuer):
    issuer.answer = lambda handler: respond(handler, json.dumps({"keys": issuer.entries}).encode(), 503)
    assert await unavailable(issuer) == "HTTP status 503"


async def test_a_huge_answer_is_cut_off(issuer):
    sent = 0

    def endless(handler):
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        try:
            while sent < 200 * MAX_KEY_SET_BYTES:
                sent += handler.wfile.write(b" " * 65_536)
        except ConnectionError:
            pass

    issuer.answer = endless
    assert await unavailable(issuer) == f"larger than {MAX_KEY_SET_BYTES} bytes"
    assert sent < 100 * MAX_KEY_SET_BYTES


async def test_an_answer_that_does_not_come_is_given_up(issuer):
    issuer.answer = hang(issuer)
    assert await unavailable(issuer, jwks_timeout_seconds=0.2) in {"ReadTimeout", "TimeoutError"}


async def test_an_answer_that_comes_drop_by_drop_is_given_up_as_a_whole(issuer):
    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while not issuer.released.wait(0.05):
                handler.wfile.write(b" ")
        except ConnectionError:
            pass

    issuer.answer = drip
    assert await unavailable(issuer, jwks_timeout_seconds=0.3) == "TimeoutError"


def raw_deflate(body: bytes) -> bytes:
    """Without zlib's header and checksum, as some servers send `deflate`."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


CODINGS = {
    "gzip": ("gzip", gzip.compress),
    "gzip in capitals": ("GZIP", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without its header": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
}


@pytest.mark.parametrize("name", CODINGS)
async def test_an_answer_that_is_compressed_whatever_was_asked_is_taken(issuer, name):
    coding, compress = CODINGS[name]
    issuer.answer = lambda handler: respond(
        handler, compress(json.dumps({"keys": issuer.entries}).encode()), 200, {"Content-Encoding": coding}
    )
    async with authenticator(issuer) as auth:
        assert (await auth.authenticate(bearer())).user_id == "alice"


async def test_a_firewall_that_refuses_the_names_of_http_libraries_lets_the_fetch_through(issuer):
    """It is what it says that it is, and says what it takes."""

    def firewall(handler):
        name = handler.headers.get("User-Agent", "").lower()
        wanted = handler.headers.get("Accept") == "application/json"
        if not wanted or any(word in name for word in ("python", "httpx", "requests", "urllib")) or not name:
            respond(handler, b"<html>blocked</html>", 403, {"Content-Type": "text/html"})
        else:
            respond(handler, json.dumps({"keys": issuer.entries}).encode())

    issuer.answer = firewall
    async with authenticator(issuer) as auth:
        assert (await auth.authenticate(bearer())).user_id == "alice"
    assert issuer.requests[0]["user-agent"] == f"relaykit/{VERSION}"
    assert issuer.requests[0]["accept-encoding"] == "gzip, deflate"


BOMB = b" " * (60 * MAX_KEY_SET_BYTES)
BROKEN_CODINGS = {
    "a bomb": ("gzip", gzip.compress(BOMB), f"larger than {MAX_KEY_SET_BYTES} bytes when decompressed"),
    "a bomb of deflate": (
        "deflate",
        raw_deflate(BOMB),
        f"larger than {MAX_KEY_SET_BYTES} bytes when decompressed",
    ),
    "too much before it is decompressed": (
        "gzip",
        BOMB[: MAX_KEY_SET_BYTES + 1],
        f"larger than {MAX_KEY_SET_BYTES} bytes",
    ),
    "what is not gzip": ("gzip", b"{}", "compressed and broken"),
    "half of it": ("gzip", gzip.compress(b"{}")[:-9], "compressed and broken"),
    "something behind it": ("gzip", gzip.compress(b"{}") + b"{}", "compressed and broken"),
    "nothing": ("deflate", b"", "compressed and broken"),
    "what was not asked for": ("br", b"{}", "compressed in a way that was not asked for"),
    "compressed twice": (
        "gzip, gzip",
        gzip.compress(gzip.compress(b"{}")),
        "compressed in a way that was not asked for",
    ),
}


@pytest.mark.parametrize("name", BROKEN_CODINGS)
async def test_a_compressed_answer_that_is_broken_or_a_bomb_is_a_failed_fetch(issuer, name):
    coding, body, reason = BROKEN_CODINGS[name]
    issuer.answer = lambda handler: respond(handler, body, 200, {"Content-Encoding": coding})
    assert await unavailable(issuer) == reason


async def test_a_bomb_costs_no_more_memory_than_a_key_set_may_have(issuer):
    bomb = gzip.compress(BOMB)
    issuer.answer = lambda handler: respond(handler, bomb, 200, {"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        await unavailable(issuer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * MAX_KEY_SET_BYTES


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no list of keys"),
        (b"{}", "no list of keys"),
        (b'{"keys": {"k1": {}}}', "no list of keys"),
        (b'{"keys": []}', "no usable key"),
    ],
)
async def test_an_answer_that_is_no_key_set_is_a_failed_fetch(issuer, body, reason):
    issuer.answer = lambda handler: respond(handler, body)
    assert await unavailable(issuer) == reason


async def test_an_empty_key_set_does_not_take_away_the_keys_at_hand(issuer, clock):
    async with authenticator(issuer, jwks_cache_seconds=0.02, jwks_cooldown_seconds=AT_ONCE) as auth:
        await auth.authenticate(bearer())
        issuer.serve()
        clock.passes(0.03)
        assert await auth.authenticate(bearer(sub="bob"))


# Entries that cannot be used


def private_jwk() -> dict[str, object]:
    entry = json.loads(RSAAlgorithm.to_jwk(signing_key("bad").private))
    return entry | {"kid": "bad", "key_ops": ["sign", "verify"]}


BROKEN = {
    "a private key": lambda: private_jwk(),
    "a symmetric key": lambda: {"kty": "oct", "k": "c2VjcmV0", "kid": "bad", "alg": "HS256"},
    "a symmetric key named as RS256": lambda: {"kty": "oct", "k": "c2VjcmV0", "kid": "bad", "alg": "RS256"},
    "a key for encryption": lambda: signing_key("bad").jwk(use="enc"),
    "a key only for signing": lambda: signing_key("bad").jwk(use=None, key_ops=["sign"]),
    "an RSA key of another algorithm": lambda: signing_key("bad").jwk(alg="RS512"),
    "an RSA key named as HS256": lambda: signing_key("bad").jwk(alg="HS256"),
    "an RSA key named as none": lambda: signing_key("bad").jwk(alg="none"),
    "an RSA key named as ES256": lambda: signing_key("bad").jwk(alg="ES256"),
    "an RSA key with a curve": lambda: signing_key("bad").jwk(crv="P-256"),
    "an RSA key that is too short": lambda: signing_key("bad", bits=1024).jwk(),
    "a modulus that is no text": lambda: signing_key("bad").jwk(n=17),
    "a modulus that is no base64": lambda: signing_key("bad").jwk(n="!!"),
    "an exponent that is missing": lambda: signing_key("bad").jwk(e=None),
    "a curve that is not supported": lambda: signing_key("bad", "ES256").jwk(crv="P-384", alg=None),
    "a point that is not on its curve": lambda: signing_key("bad", "ES256").jwk(x="AAAA", y="AAAA"),
    "an Ed25519 key of the wrong length": lambda: signing_key("bad", "EdDSA").jwk(x="AAAA"),
    "a type that is unknown": lambda: signing_key("bad").jwk(kty="XYZ"),
    "a type that is no text": lambda: signing_key("bad").jwk(kty=["RSA"]),
    "a kid that is no text": lambda: signing_key("bad").jwk(kid=7),
    "a kid that is empty": lambda: signing_key("bad").jwk(kid=""),
    "null": lambda: None,
    "a text": lambda: "bad",
    "an empty object": dict,
}


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
@pytest.mark.parametrize("name", BROKEN)
async def test_an_entry_that_cannot_be_used_is_left_out_and_the_others_are_kept(issuer, name):
    entry = BROKEN[name]()
    algorithm = (
        "ES256" if "curve" in name and "RSA" not in name else "EdDSA" if "Ed25519" in name else "RS256"
    )
    bits = 1024 if "short" in name else 2048
    issuer.entries = [entry, signing_key("k1").jwk()]
    async with authenticator(issuer, jwks_cooldown_seconds=NEVER) as auth:
        with capture_logs() as lines:
            assert await auth.authenticate(bearer())
        token = signing_key("bad", algorithm, bits).token()
        assert await refuse(auth, f"Bearer {token}") == "unknown_key"
    assert [line["action"] for line in lines] == ["jwks_key_left_out"]
    assert "c2VjcmV0" not in str(lines)


async def test_keys_beyond_the_limit_are_left_out(issuer):
    issuer.entries = [signing_key("k1").jwk(), *({} for _ in range(MAX_KEYS)), signing_key("k2").jwk()]
    async with authenticator(issuer, jwks_cooldown_seconds=NEVER) as auth:
        assert await auth.authenticate(bearer("k1"))
        assert await refuse(auth, bearer("k2")) == "unknown_key"


async def test_two_keys_of_one_kid_are_told_apart_by_their_type(issuer):
    issuer.serve(signing_key("same"), signing_key("same", "ES256"))
    async with authenticator(issuer) as auth:
        for algorithm in ("RS256", "ES256"):
            assert await auth.authenticate(f"Bearer {signing_key('same', algorithm).token()}")


def hang(server: JwksServer):
    return lambda handler: server.released.wait(30)
