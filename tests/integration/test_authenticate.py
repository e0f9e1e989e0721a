"""Who makes a request, otherwise than by a bearer token of an issuer: a secret, a cookie, the site's AUTHENTICATE."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError
from structlog.testing import capture_logs

from relaykit.shared.errors import ServerLoadError
from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking
from tests.support.repository.error_catalogue import assert_documented_error
from tests.support.servers import authenticate_hooks
from tests.support.servers.blocking_site import DOOR, Blocking, Door
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.servers.user_servers import PlainServer
from tests.support.system import Answer, create, parse_frames, running, wait_until

HOOKS = "tests.support.servers.authenticate_hooks"
SECRET = "s" * 32
LIST = {"type": "threads.list", "params": {}}


class ShowsContext(PlainServer):
    """Answers with what it knows of the caller."""

    def greeting(self, context: Any) -> str:
        known = [context.user_id, context.tenant, context.tier, dict(context.claims), context.bearer_token]
        return json.dumps(known).replace(" ", "")


def server() -> ShowsContext:
    return ShowsContext(store=None)  # type: ignore[arg-type]


def hooked(settings: Settings, name: str, **changes: Any) -> Settings:
    return settings.model_copy(update={"authenticate": f"{HOOKS}:{name}", **changes})


@asynccontextmanager
async def site(settings: Settings, make: Any = server, apis: int = 1) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a token."""
    async with (
        running(settings, make, apis=apis) as system,
        httpx2.AsyncClient(base_url=system.urls[0], timeout=20) as client,
    ):
        yield client


async def post(client: httpx2.AsyncClient, request: Any, **headers: str) -> httpx2.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/chatkit", content=json.dumps(request).encode(), headers=fields)


def token(key: Any, algorithm: str, settings: Settings, **claims: Any) -> str:
    known = {
        "sub": "alice",
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "exp": int(time.time()) + 60,
        **claims,
    }
    return jwt.encode({key: value for key, value in known.items() if value is not None}, key, algorithm)


def refused(response: httpx2.Response, status: int, code: str) -> None:
    """The status, and the code as docs/protocol.md has it."""
    assert_documented_error(response, status)
    assert response.json()["error"]["code"] == code


# --- a secret


@pytest.fixture
def secret(settings: Settings) -> Settings:
    changes = {"jwks_url": None, "jwt_secret": SECRET, "local_issuer_key_file": None}
    return settings.model_copy(update=changes)


async def test_a_token_that_the_site_signs_with_its_secret(secret: Settings) -> None:
    """With or without a key id: there is one secret."""
    async with site(secret) as client:
        for more in ({}, {"tenant": "acme"}):
            good = f"Bearer {token(SECRET, 'HS256', secret, **more)}"
            answer = (await post(client, create("hi"), authorization=good)).content
            assert '"alice"' in Answer(200, httpx2.Headers(), answer).text


async def test_the_local_issuer_signs_with_the_secret(secret: Settings, settings: Settings) -> None:
    """So that local mode's page signs in beside tokens of the site."""
    local = secret.model_copy(update={"local_issuer_key_file": settings.local_issuer_key_file})
    async with site(local) as client:
        good = f"Bearer {await signed_in(client, 'alice')}"
        assert (await post(client, LIST, authorization=good)).status_code == 200


@pytest.mark.parametrize(
    "change", [{"exp": 1}, {"aud": "other"}, {"iss": "other"}, {"sub": None}, {"exp": None}]
)
async def test_a_claim_that_is_wrong_is_refused_all_the_same(
    secret: Settings, change: dict[str, Any]
) -> None:
    async with site(secret) as client:
        bad = f"Bearer {token(SECRET, 'HS256', secret, **change)}"
        refused(await post(client, LIST, authorization=bad), 401, "unauthenticated")


async def test_no_other_algorithm_passes_where_there_is_a_secret(secret: Settings) -> None:
    """Another secret, an asymmetric key, no signature at all."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    unsigned = jwt.encode({"sub": "alice"}, None, algorithm="none")
    async with site(secret) as client:
        for bad in (
            token("t" * 32, "HS256", secret),
            token(SECRET, "HS512", secret),
            token(key, "RS256", secret),
            unsigned,
        ):
            refused(await post(client, LIST, authorization=f"Bearer {bad}"), 401, "unauthenticated")


async def test_a_public_key_is_no_secret_where_there_is_an_issuer(settings: Settings) -> None:
    """The issuer's own public key, which anybody has, as the secret of a token by HS256."""
    async with site(settings) as client:
        [key] = (await client.get("/dev/jwks.json")).json()["keys"]
        public = jwt.PyJWK(key).key
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for word in (pem, json.dumps(key), SECRET):
            head = {"alg": "HS256", "typ": "JWT", "kid": key["kid"]}
            claims = {"sub": "alice", "iss": settings.jwt_issuer, "aud": settings.jwt_audience, "exp": 2**31}
            forged = _signed(head, claims, word.encode())
            response = await post(client, LIST, authorization=f"Bearer {forged}")
            refused(response, 401, "unauthenticated")
            assert "algorithm" in response.headers["www-authenticate"]


def _signed(head: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    """As an attacker signs, whose library refuses no key."""

    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    text = part(json.dumps(head).encode()) + b"." + part(json.dumps(claims).encode())
    return (text + b"." + part(hmac.new(key, text, hashlib.sha256).digest())).decode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"jwt_secret": "x" * 31}, "at least 32 bytes"),
        ({"jwt_secret": SECRET}, "JWT_SECRET"),
        ({"jwt_secret": "-----BEGIN PUBLIC KEY-----" + SECRET, "jwks_url": None}, "not a key of a pair"),
        ({"jwt_secret": SECRET, "jwks_url": None, "jwt_algorithms": "RS256"}, "JWT_ALGORITHMS goes with"),
        ({"token_cookie": "a b"}, "must be the name of a cookie"),
        ({"authenticate": "a:b", "jwks_url": None, "token_cookie": "t"}, "TOKEN_COOKIE needs"),
        ({"token_cookie": "t", "cors_origins": "*"}, "CORS_ORIGINS names each origin"),
        ({"authenticate": "a:b", "cors_origins": "*"}, "CORS_ORIGINS names each origin"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    settings: Settings, change: dict[str, Any], words: str
) -> None:
    given = {**settings.model_dump(exclude_unset=True), **change}
    with pytest.raises(ValidationError, match=words) as caught:
        Settings(**given)
    assert SECRET not in str(caught.value)


# --- a token in a cookie


@pytest.fixture
def cookie(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"token_cookie": "__Host-chat", "cors_origins": ("https://shop.example",)}
    )


async def signed_in(client: httpx2.AsyncClient, sub: str) -> str:
    response = await client.post("/dev/token", json={"sub": sub})
    return str(response.json()["access_token"])


async def test_a_cookie_carries_a_whole_conversation(cookie: Settings) -> None:
    """Asked, streamed, resumed and stopped, with what a browser sends of itself."""
    async with site(cookie) as client:
        browser = {"cookie": f"theme=dark; __Host-chat={await signed_in(client, 'alice')}"}
        own = {**browser, "sec_fetch_site": "same-origin"}
        response = await post(client, create("hi"), **own)
        assert response.status_code == 200, response.text
        run_id = response.headers["x-run-id"]
        for path in (f"/runs/{run_id}", f"/runs/{run_id}/events"):
            assert (await client.get(path, headers=browser)).status_code == 200
        resumed = await client.get(f"/runs/{run_id}/events", headers=browser)
        assert parse_frames(resumed.content)[-1] == parse_frames(response.content)[-1]
        stop = await client.post(
            f"/runs/{run_id}/cancel", headers={**browser, "Sec-Fetch-Site": "same-origin"}
        )
        assert stop.status_code == 202


async def test_a_stream_ends_with_the_token_in_the_cookie(cookie: Settings, tmp_path: Path) -> None:
    changes = {"jwt_leeway_seconds": 0.0, "token_grace_seconds": 0.0}
    script = str(Script(deltas=2, gate=str(tmp_path / "gate"), holds=[1]))
    async with site(cookie.model_copy(update=changes), lambda: Blocking(None)) as client:
        short = await client.post("/dev/token", json={"sub": "alice", "ttl_seconds": 2})
        browser = {"cookie": f"__Host-chat={short.json()['access_token']}", "sec_fetch_site": "same-origin"}
        response = await post(client, create(script), **browser)
        assert response.status_code == 200
        assert b": end" not in response.content
        refused(await post(client, LIST, **browser), 401, "unauthenticated")
        open_gate(tmp_path / "gate", 1)


async def test_a_page_of_another_site_makes_nothing_happen(cookie: Settings) -> None:
    async with site(cookie) as client:
        browser = {"cookie": f"__Host-chat={await signed_in(client, 'alice')}"}
        run = await post(client, create("hi"), **browser, sec_fetch_site="same-origin")
        cross = {**browser, "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
        stop = await client.post(f"/runs/{run.headers['x-run-id']}/cancel", headers=cross)
        refused(stop, 403, "cross_site_request")
        made = await client.post("/chatkit", content=json.dumps(create("evil")).encode(), headers=cross)
        refused(made, 403, "cross_site_request")
        threads = await post(client, LIST, **browser, sec_fetch_site="same-origin")
        assert len(threads.json()["data"]) == 1
        allowed = {**browser, "Sec-Fetch-Site": "cross-site", "Origin": "https://shop.example"}
        listed = await client.post("/chatkit", content=json.dumps(LIST).encode(), headers=allowed)
        assert listed.status_code == 200
        assert listed.headers["access-control-allow-credentials"] == "true"
        assert listed.headers["access-control-allow-origin"] == "https://shop.example"


async def test_a_bearer_token_counts_before_the_cookie_and_needs_no_origin(cookie: Settings) -> None:
    async with site(cookie) as client:
        alice, bob = await signed_in(client, "alice"), await signed_in(client, "bob")
        both = {
            "authorization": f"Bearer {bob}",
            "cookie": f"__Host-chat={alice}",
            "sec_fetch_site": "cross-site",
        }
        response = await post(client, create("hi"), **both)
        assert '"bob"' in Answer(200, response.headers, response.content).text
        broken = {**both, "authorization": "Bearer x.y.z"}
        refused(await post(client, LIST, **broken), 401, "unauthenticated")
        basic = {"authorization": "Basic eA==", "cookie": f"__Host-chat={alice}"}
        refused(await post(client, LIST, **basic), 401, "unauthenticated")


@pytest.mark.parametrize(
    "field",
    [
        "",
        "other=1",
        "__Host-chat=",
        "__Host-chat=x.y.z",
        "__Host-chat={0}; __Host-chat={1}",
        "__host-chat={0}",
    ],
)
async def test_a_cookie_that_is_no_good(cookie: Settings, field: str) -> None:
    """Absent, empty, no token; twice with different tokens, where it depends on the reader which of them counts."""
    async with site(cookie) as client:
        tokens = await signed_in(client, "alice"), await signed_in(client, "bob")
        response = await post(client, LIST, cookie=field.format(*tokens))
        refused(response, 401, "unauthenticated")


async def test_without_the_setting_a_cookie_is_nothing(settings: Settings) -> None:
    async with site(settings) as client:
        response = await post(client, LIST, cookie=f"__Host-chat={await signed_in(client, 'alice')}")
        refused(response, 401, "unauthenticated")


# --- the site's AUTHENTICATE


async def test_whom_the_site_knows_reaches_the_server_in_both_processes(settings: Settings) -> None:
    """User, tenant, tier, claims and token, in a method that the API calls and in one that a worker calls."""
    changes = {"forward_token": True, "forward_token_key": base64.b64encode(bytes(32)).decode()}
    async with site(hooked(settings, "by_session", **changes)) as client:
        who = '["alice","acme","gold",{"session":"s-alice"},"token-of-alice"]'
        response = await post(client, create("hi"), cookie="session=s-alice")
        assert who in Answer(200, response.headers, response.content).text
        audio = {"type": "input.transcribe", "params": {"audio_base64": "AAAA", "mime_type": "audio/webm"}}
        assert (await post(client, audio, cookie="session=s-alice")).json()["text"] == who
        bob = await post(client, LIST, cookie="session=s-bob")
        assert bob.json()["data"] == []


async def test_whom_the_site_does_not_know_or_refuses(settings: Settings) -> None:
    async with site(hooked(settings, "by_session")) as client:
        for _ in range(2):
            refused(await post(client, LIST), 401, "unauthenticated")
            refused(await post(client, LIST, cookie="session=x"), 401, "unauthenticated")
            banned = await post(client, LIST, cookie="session=s-banned")
            refused(banned, 403, "server_refused")
            assert banned.json()["error"]["message"] == "You are banned."


async def test_a_bearer_token_is_taken_beside_it_and_decides(settings: Settings) -> None:
    of_the_site = {"jwks_url": None, "jwt_secret": SECRET}
    async with site(hooked(settings, "by_session", **of_the_site)) as client:
        carol = await signed_in(client, "carol")
        response = await post(client, create("hi"), authorization=f"Bearer {carol}", cookie="session=s-alice")
        assert '"carol"' in Answer(200, response.headers, response.content).text
        bad = await post(client, LIST, authorization="Bearer x.y.z", cookie="session=s-alice")
        refused(bad, 401, "unauthenticated")


@pytest.mark.parametrize("value", ["Bearer x.y.z", "Bearer opaque", "Basic eA==", "Bearer {site's own}"])
async def test_in_local_mode_it_is_asked_about_what_local_mode_has_not_issued(
    settings: Settings, value: str
) -> None:
    """As it will be in a deployment that takes no tokens. What has a key of the local issuer is judged by that key."""
    async with site(hooked(settings, "by_session")) as client:
        theirs = jwt.encode({"sub": "x"}, SECRET, "HS256", headers={"kid": "theirs"})
        fields = {"authorization": value.replace("{site's own}", theirs), "cookie": "session=s-alice"}
        assert (await post(client, LIST, **fields)).status_code == 200
        assert (await post(client, LIST, authorization=value)).status_code == 401
        carol = await signed_in(client, "carol")
        response = await post(client, create("hi"), authorization=f"Bearer {carol}", cookie="session=s-alice")
        assert '"carol"' in Answer(200, response.headers, response.content).text
        head, claims, signature = carol.split(".")
        other = "B" if signature[50] == "A" else "A"
        forged = f"Bearer {head}.{claims}.{signature[:50]}{other}{signature[51:]}"
        refused(
            await post(client, LIST, authorization=forged, cookie="session=s-alice"), 401, "unauthenticated"
        )


async def test_without_tokens_it_is_asked_about_every_request(settings: Settings) -> None:
    alone = {"jwks_url": None, "jwt_issuer": None, "jwt_audience": None, "local_issuer_key_file": None}
    async with site(hooked(settings, "by_session", **alone)) as client:
        fields = {"authorization": "Bearer x.y.z", "cookie": "session=s-alice"}
        assert (await post(client, LIST, **fields)).status_code == 200
        basic = {"authorization": "Basic eA==", "cookie": "session=s-alice", "sec_fetch_site": "cross-site"}
        refused(await post(client, LIST, **basic), 403, "cross_site_request")


async def test_equal_requests_ask_once(settings: Settings) -> None:
    """Also where they come at once, and where the session is not known."""
    async with site(hooked(settings, "by_session")) as client:
        authenticate_hooks.CALLS.clear()
        for session in ("s-alice", "unknown"):
            await asyncio.gather(*(post(client, LIST, cookie=f"session={session}") for _ in range(20)))
        assert authenticate_hooks.CALLS == ["s-alice", "unknown"]


async def test_what_it_has_read_of_a_request_is_part_of_the_answer(settings: Settings) -> None:
    """A header that it reads for some callers alone changes who those are, whatever was asked before."""
    async with site(hooked(settings, "by_header")) as client:

        async def who(**headers: str) -> str:
            response = await post(client, create(f"hi {headers}"), **headers)
            return Answer(200, response.headers, response.content).text.partition(",")[0]

        assert await who(x_user="alice") == '["alice"'
        assert await who(x_user="root") == '["root"'
        assert await who(x_user="root", x_act_as="bob") == '["bob"'
        assert await who(x_user="alice", x_act_as="bob") == '["alice"'
        assert await who(x_user="root", x_act_as="carol") == '["carol"'
        assert await who(x_user="root") == '["root"'
        assert (await post(client, LIST)).status_code == 401


async def test_a_stream_ends_with_the_time_that_it_gives(settings: Settings, tmp_path: Path) -> None:
    """The client that resumes is asked for again, and goes on where it was."""
    held = hooked(settings, "for_a_second", token_grace_seconds=0)
    script = str(Script(deltas=2, gate=str(tmp_path / "gate"), holds=[1]))
    authenticate_hooks.CALLS.clear()
    async with site(held, lambda: Blocking(None)) as client:
        response = await post(client, create(script), relaykit_resume="1")
        frames = parse_frames(response.content)
        assert b": end" not in response.content
        open_gate(tmp_path / "gate", 1)
        run_id = response.headers["x-run-id"]
        resume = {"Last-Event-ID": frames[-1][0], "Relaykit-Resume": "1"}
        rest = await client.get(f"/runs/{run_id}/events", headers=resume)
        assert rest.status_code == 200
        assert b": end completed" in rest.content
        assert len(authenticate_hooks.CALLS) == 2


@pytest.mark.parametrize(
    "name",
    [
        "raises",
        "leaves",
        "redirects",
        "gives_a_name",
        "gives_true",
        "gives_nobody",
        "gives_a_broken_token",
        "gives_claims_that_are_no_json",
        "gives_claims_that_grow",
    ],
)
async def test_one_that_fails_lets_nobody_in(settings: Settings, name: str) -> None:
    """500, and a line with the place in the site's code; the API goes on."""
    async with site(hooked(settings, name)) as client:
        with capture_logs() as lines:
            response = await post(client, LIST)
        refused(response, 500, "authentication_failed")
        [line] = [line for line in lines if line["action"] == "authenticate_failed"]
        if name in ("gives_a_name", "gives_true", "gives_claims_that_grow"):
            assert line["error_type"] in ("TypeError", "ValueError")
        else:
            assert any("authenticate_hooks.py:" in frame for frame in line["frames"])
        assert "secret" not in response.text + str(lines)
        assert (await client.get("/healthz")).status_code == 200


async def test_one_that_hangs_is_given_up(settings: Settings) -> None:
    async with site(hooked(settings, "hangs", context_seconds=3)) as client:  # all three come within it
        authenticate_hooks.CALLS.clear()
        answers = await asyncio.gather(*(post(client, LIST) for _ in range(3)))
        assert authenticate_hooks.CALLS == ["hangs"]  # who waits for its answer does not begin anew after it
        for answer in answers:
            refused(answer, 503, "authentication_timeout")


async def test_who_comes_shortly_before_another_s_call_is_given_up_asks_for_itself(
    settings: Settings,
) -> None:
    door = authenticate_hooks.WAITING["late"] = asyncio.Event()
    async with site(hooked(settings, "by_key", context_seconds=4)) as client:
        first = asyncio.create_task(post(client, LIST, x_api_key="late"))
        await asyncio.sleep(2.5)  # the second has more than half of its time when the first is given up
        second = asyncio.create_task(post(client, LIST, x_api_key="late"))
        refused(await first, 503, "authentication_timeout")
        door.set()
        assert (await second).status_code == 200


async def test_its_answer_is_read_on_the_loop_of_the_sites_code(settings: Settings) -> None:
    """Claims may be objects of the site's, whose methods block."""
    authenticate_hooks.THREADS.clear()
    async with site(hooked(settings, "gives_lazy_claims")) as client:
        response = await post(client, create("hi"))
        assert '{"claim":"value"}' in Answer(200, response.headers, response.content).text
    assert authenticate_hooks.THREADS
    assert threading.get_ident() not in authenticate_hooks.THREADS


async def test_callers_that_differ_in_what_it_reads_do_not_wait_for_each_other(settings: Settings) -> None:
    """Also where they have no cookie and no Authorization header."""
    authenticate_hooks.CALLS.clear()
    async with site(hooked(settings, "by_key")) as client:
        assert (await post(client, LIST, x_api_key="first")).status_code == 200
        door = authenticate_hooks.WAITING["slow"] = asyncio.Event()
        slow = asyncio.create_task(post(client, LIST, x_api_key="slow"))
        await wait_until("the slow call has begun", lambda: "slow" in authenticate_hooks.CALLS)
        assert (await post(client, LIST, x_api_key="bob")).status_code == 200
        assert not slow.done()
        door.set()
        assert (await slow).status_code == 200


async def test_while_one_blocks_streams_go_on(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream gets its deltas, and who comes with a token is answered, while a call of AUTHENTICATE stands."""
    folder = tmp_path / "door"
    folder.mkdir()
    monkeypatch.setenv(DOOR, str(folder))
    door, gate = Door(), tmp_path / "gate"
    script = str(Script(deltas=3, gate=str(gate), holds=[0, 1, 2]))
    async with running(hooked(settings, "blocks"), lambda: Blocking(None)) as system:
        alice = await system.caller("alice")
        async with asking(alice, create(script)) as stream:
            await stream.until("it began", lambda answer: answer.of_type("thread.item.added"))
            door.shut("authenticate")
            standing = asyncio.create_task(alice.client.get("/runs/x", headers={"x-blocks": "1"}))
            await wait_until("a call stands", lambda: door.stands("authenticate"))
            for number in range(3):
                open_gate(gate, number)
                wanted = number + 1
                await stream.until(
                    "a delta", lambda answer, n=wanted: len(answer.of_type("thread.item.updated")) >= n
                )
            assert (await alice.get(f"/runs/{stream.run_id}")).status_code == 200
            assert not standing.done()
            door.open("authenticate")
            assert (await standing).status_code == 404


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "has no attribute 'nothing'"),
        ("number", "is a int, not an async function"),
        ("not_async", r"the function in .*authenticate_hooks\.py:\d+ is not async"),
        ("takes_nothing", r"the function in .*authenticate_hooks\.py:\d+, called with the request: "),
    ],
)
def test_one_that_cannot_be_asked_stops_the_process_at_start(
    settings: Settings, name: str, words: str
) -> None:
    from relaykit.api.main import create_app

    with pytest.raises(ServerLoadError, match=f"^AUTHENTICATE={HOOKS}:{name}: .*{words}"):
        create_app(hooked(settings, name), server())


async def test_an_object_that_is_called_will_do(settings: Settings) -> None:
    async with site(hooked(settings, "signed")) as client:
        assert (await post(client, LIST)).status_code == 200
