"""Which tokens the API accepts and which it refuses, against a real key set over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from contextlib import asynccontextmanager

import httpx2
import pytest
from fastapi import FastAPI, Request

from relaykit.api.auth.authenticator import (
    MAX_EXPIRY,
    MAX_TOKEN_CHARS,
    REASONS,
    Authenticator,
    Identity,
    locale_of,
    sole_header,
)
from relaykit.api.auth.jwks import JwksClient
from relaykit.api.http.errors import install_error_handlers
from relaykit.shared.errors import Unauthenticated
from tests.integration.http_app import serving
from tests.integration.jwks_server import (
    AUDIENCE,
    JwksServer,
    good_claims,
    raw_token,
    settings_for,
    signing_key,
)

ALGORITHMS = ("RS256", "ES256", "EdDSA")


@pytest.fixture
def issuer():
    with JwksServer(signing_key()) as server:
        yield server


@asynccontextmanager
async def authenticator(server: JwksServer, **changes):
    settings = settings_for(server, **changes)
    async with JwksClient(settings) as jwks:
        yield Authenticator(settings, jwks)


async def accept(server: JwksServer, token: str, **changes) -> Identity:
    async with authenticator(server, **changes) as auth:
        return await auth.authenticate(f"Bearer {token}")


async def refuse(server: JwksServer, token: str, **changes) -> str | None:
    """The reason of the refusal. Nothing of the token is in the error."""
    return await refuse_header(server, f"Bearer {token}", **changes)


async def refuse_header(server: JwksServer, header: str | None, **changes) -> str | None:
    async with authenticator(server, **changes) as auth:
        with pytest.raises(Unauthenticated) as caught:
            await auth.authenticate(header)
    error = caught.value
    assert error.reason is None or error.message == REASONS[error.reason]
    return error.reason


# Accepted


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_good_token_of_each_algorithm_is_accepted(algorithm):
    key = signing_key("k", algorithm)
    with JwksServer(key) as server:
        identity = await accept(server, key.token(sub="bob", tenant="acme", role="admin"))
    assert (identity.user_id, identity.tenant, identity.claims["role"]) == ("bob", "acme", "admin")


async def test_the_scheme_is_read_without_regard_to_case(issuer):
    async with authenticator(issuer) as auth:
        assert (await auth.authenticate(f"bEARER {signing_key().token()}")).user_id == "alice"


async def test_the_identity_expires_when_the_token_would_be_refused(issuer):
    exp = int(time.time()) + 100
    identity = await accept(issuer, signing_key().token(exp=exp), jwt_leeway_seconds=7)
    assert identity.expires_at == exp + 7


async def test_an_expiry_beyond_any_calendar_is_held_at_the_last_year(issuer):
    identity = await accept(issuer, signing_key().token(exp=10**300))
    assert identity.expires_at == MAX_EXPIRY


async def test_an_audience_among_several_is_accepted(issuer):
    assert await accept(issuer, signing_key().token(aud=["other", AUDIENCE]))


async def test_the_leeway_is_given_to_an_expired_token(issuer):
    assert await accept(issuer, signing_key().token(exp=int(time.time()) - 5), jwt_leeway_seconds=30)


async def test_the_leeway_is_given_to_a_token_that_is_not_valid_yet(issuer):
    assert await accept(issuer, signing_key().token(nbf=int(time.time()) + 5), jwt_leeway_seconds=30)


async def test_a_token_without_tenant_has_none(issuer):
    assert (await accept(issuer, signing_key().token())).tenant is None


async def test_a_tenant_of_null_is_none(issuer):
    token = sign_raw({"alg": "EdDSA", "kid": "ed"}, good_claims() | {"tenant": None})
    issuer.serve(signing_key("ed", "EdDSA"))
    assert (await accept(issuer, token)).tenant is None


async def test_the_tenant_claim_is_the_configured_one(issuer):
    token = signing_key().token(**{"https://x.test/org": "acme", "tenant": "other"})
    assert (await accept(issuer, token, jwt_tenant_claim="https://x.test/org")).tenant == "acme"


async def test_the_token_and_the_claims_are_not_in_the_repr_of_an_identity(issuer):
    token = signing_key().token(email="alice@x.test")
    shown = repr(await accept(issuer, token))
    assert token not in shown
    assert "alice@x.test" not in shown


# The header


async def test_no_header_is_refused_without_a_reason(issuer):
    assert await refuse_header(issuer, None) is None


async def test_an_empty_header_is_refused(issuer):
    assert await refuse_header(issuer, "") == "credentials"


async def test_a_scheme_without_a_token_is_refused(issuer):
    assert await refuse_header(issuer, "Bearer ") == "credentials"


async def test_another_scheme_is_refused(issuer):
    assert await refuse_header(issuer, f"Basic {signing_key().token()}") == "credentials"


async def test_a_token_without_a_scheme_is_refused(issuer):
    assert await refuse_header(issuer, signing_key().token()) == "credentials"


async def test_two_headers_that_a_proxy_has_joined_are_refused(issuer):
    token = signing_key().token()
    assert await refuse_header(issuer, f"Bearer {token}, Bearer {token}") == "credentials"


async def test_two_authorization_headers_are_refused_over_http(issuer):
    app = FastAPI()
    install_error_handlers(app)
    async with authenticator(issuer) as auth:

        @app.get("/")
        async def who(request: Request) -> str:
            return (await auth.authenticate(sole_header(request.headers.getlist("authorization")))).user_id

        header = ("Authorization", f"Bearer {signing_key().token()}")
        async with serving(app) as url, httpx2.AsyncClient() as client:
            one = await client.get(url, headers=[header])
            two = await client.get(url, headers=[header, header])
    assert (one.status_code, one.json()) == (200, "alice")
    assert two.status_code == 401
    assert two.json()["error"]["code"] == "unauthenticated"
    assert two.headers["WWW-Authenticate"] == 'Bearer error="invalid_token", error_description="credentials"'


async def test_a_huge_token_is_refused_unread(issuer):
    assert await refuse(issuer, "a" * MAX_TOKEN_CHARS + ".b.c") == "too_large"
    assert issuer.fetches == 0


# The form


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("garbage", id="one part"),
        pytest.param("a.b", id="two parts"),
        pytest.param("a.b.c", id="not base64"),
        pytest.param("a.b.c.d.e", id="five parts, as of an encrypted one"),
        pytest.param("ä.ö.ü", id="not ascii"),
        pytest.param(raw_token(b"no json", {}), id="header not json"),
        pytest.param(raw_token([], {}), id="header not an object"),
        pytest.param(raw_token(b"[" * 10_000, {}), id="header nested without end"),
        pytest.param(raw_token({"alg": "RS256", "crit": ["x"], "x": 1}, {}), id="unknown critical extension"),
    ],
)
async def test_garbage_is_refused(issuer, token):
    assert await refuse(issuer, token) == "malformed"
    assert issuer.fetches == 0


async def test_a_kid_that_is_no_text_is_refused(issuer):
    assert await refuse(issuer, raw_token({"alg": "RS256", "kid": ["k1"]}, good_claims())) == "malformed"


async def test_a_payload_that_is_no_object_is_refused(issuer):
    issuer.serve(signing_key("ed", "EdDSA"))
    assert await refuse(issuer, sign_raw({"alg": "EdDSA", "kid": "ed"}, ["alice"])) == "malformed"


async def test_a_payload_that_the_signature_leaves_out_is_refused(issuer):
    issuer.serve(signing_key("ed", "EdDSA"))
    token = sign_raw({"alg": "EdDSA", "kid": "ed", "b64": False, "crit": ["b64"]}, good_claims())
    assert await refuse(issuer, token) == "malformed"


# The algorithm and the key


async def test_the_algorithm_none_is_refused(issuer):
    unsigned = raw_token({"alg": "none", "kid": "k1"}, good_claims(), b"")
    assert unsigned.endswith(".")
    assert await refuse(issuer, unsigned) == "algorithm"


@pytest.mark.parametrize("name", ["None", "NONE", "nOnE", "", "rs256"])
async def test_other_spellings_of_an_algorithm_are_refused(issuer, name):
    assert await refuse(issuer, raw_token({"alg": name, "kid": "k1"}, good_claims(), b"")) == "algorithm"


@pytest.mark.parametrize("value", [None, 1, ["RS256"], {"RS256": 1}, True])
async def test_an_algorithm_that_is_no_text_is_refused(issuer, value):
    assert await refuse(issuer, raw_token({"alg": value, "kid": "k1"}, good_claims())) == "algorithm"


async def test_no_algorithm_is_refused(issuer):
    assert await refuse(issuer, raw_token({"kid": "k1"}, good_claims())) == "algorithm"


async def test_an_hmac_with_the_public_key_as_its_secret_is_refused(issuer):
    header, payload, _ = raw_token({"alg": "HS256", "kid": "k1"}, good_claims()).split(".")
    for secret in (signing_key().pem(), json.dumps(signing_key().jwk()).encode()):
        mac = hmac.digest(secret, f"{header}.{payload}".encode(), hashlib.sha256)
        assert (
            await refuse(issuer, raw_token({"alg": "HS256", "kid": "k1"}, good_claims(), mac)) == "algorithm"
        )


async def test_an_algorithm_that_the_settings_leave_out_is_refused(issuer):
    assert await refuse(issuer, signing_key().token(), jwt_algorithms="ES256,EdDSA") == "algorithm"


async def test_an_algorithm_that_does_not_fit_the_key_is_refused_and_causes_no_further_fetch(issuer):
    token = raw_token({"alg": "ES256", "kid": "k1"}, good_claims(), b"s" * 64)
    async with authenticator(issuer, jwks_cooldown_seconds=0.001) as auth:
        await auth.authenticate(f"Bearer {signing_key().token()}")
        with pytest.raises(Unauthenticated):
            await auth.authenticate(f"Bearer {token}")
    assert issuer.fetches == 1


async def test_a_signature_of_another_key_is_refused(issuer):
    assert await refuse(issuer, signing_key("stranger").token(headers={"kid": "k1"})) == "signature"


async def test_a_token_whose_claims_were_changed_is_refused(issuer):
    header, _, signature = signing_key().token().split(".")
    payload = raw_token({}, good_claims(sub="mallory")).split(".")[1]
    assert await refuse(issuer, f"{header}.{payload}.{signature}") == "signature"


async def test_a_key_that_the_token_brings_along_is_not_looked_at(issuer):
    stranger = signing_key("stranger")
    token = stranger.token(headers={"jwk": stranger.jwk(), "jku": issuer.url})
    assert await refuse(issuer, token) == "unknown_key"


async def test_a_token_without_kid_is_accepted_when_one_key_fits_its_algorithm(issuer):
    issuer.serve(signing_key(), signing_key("e", "ES256"))
    assert (await accept(issuer, signing_key().token(headers={"kid": None}))).user_id == "alice"


async def test_a_token_without_kid_is_refused_when_two_keys_fit_its_algorithm(issuer):
    issuer.serve(signing_key(), signing_key("k2"))
    assert await refuse(issuer, signing_key().token(headers={"kid": None})) == "no_kid"


async def test_a_token_without_kid_is_refused_when_no_key_fits_its_algorithm(issuer):
    assert await refuse(issuer, signing_key("e", "ES256").token(headers={"kid": None})) == "no_kid"


# The claims


async def test_an_expired_token_is_refused(issuer):
    assert await refuse(issuer, signing_key().token(exp=int(time.time()) - 1)) == "expired"


async def test_a_token_beyond_the_leeway_is_refused(issuer):
    token = signing_key().token(exp=int(time.time()) - 20)
    assert await refuse(issuer, token, jwt_leeway_seconds=10) == "expired"


async def test_a_token_that_is_not_valid_yet_is_refused(issuer):
    assert await refuse(issuer, signing_key().token(nbf=int(time.time()) + 60)) == "not_yet_valid"


async def test_a_token_that_is_issued_in_the_future_is_refused(issuer):
    assert await refuse(issuer, signing_key().token(iat=int(time.time()) + 60)) == "not_yet_valid"


async def test_a_token_of_another_issuer_is_refused(issuer):
    assert await refuse(issuer, signing_key().token(iss="https://issuer.test.evil")) == "issuer"


@pytest.mark.parametrize("audience", ["other", ["other"], AUDIENCE + "x", [1], {AUDIENCE: 1}])
async def test_a_token_for_another_audience_is_refused(issuer, audience):
    assert await refuse(issuer, signing_key().token(aud=audience)) == "audience"


@pytest.mark.parametrize("claim", ["exp", "iss", "aud", "sub"])
async def test_a_token_without_a_required_claim_is_refused(issuer, claim):
    assert await refuse(issuer, signing_key().token(**{claim: None})) == "missing_claim"


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1", "99999999999", "soon", [], {}, True])
async def test_a_time_that_is_no_number_is_refused(issuer, claim, value):
    reason = await refuse(issuer, signing_key().token(**{claim: value}))
    assert reason in {"malformed", "expired", "not_yet_valid"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_an_expiry_that_is_no_date_is_refused(issuer, value):
    assert await refuse(issuer, signing_key().token(exp=value)) == "malformed"


@pytest.mark.parametrize("subject", [7, ["alice"], {"id": 1}, True])
async def test_a_subject_that_is_no_text_is_refused(issuer, subject):
    assert await refuse(issuer, signing_key().token(sub=subject)) == "subject"


@pytest.mark.parametrize("subject", ["", "x" * 256, "a\x00b", "a\nb", "a\u202eb", "a\ud800"])
async def test_a_subject_that_cannot_be_a_name_is_refused(issuer, subject):
    assert await refuse(issuer, signing_key().token(sub=subject)) == "subject"


@pytest.mark.parametrize("tenant", ["", 7, ["acme"], {"id": "acme"}, True, False, "x" * 256, "a\x00"])
async def test_a_tenant_that_is_no_name_is_refused(issuer, tenant):
    assert await refuse(issuer, signing_key().token(tenant=tenant)) == "tenant"


async def test_a_tenant_that_is_required_has_to_be_there(issuer):
    issuer.serve(signing_key("ed", "EdDSA"))
    null = sign_raw({"alg": "EdDSA", "kid": "ed"}, good_claims() | {"tenant": None})
    for token in (signing_key("ed", "EdDSA").token(), null):
        assert await refuse(issuer, token, jwt_tenant_required=True) == "tenant"
    named = signing_key("ed", "EdDSA").token(tenant="acme")
    assert (await accept(issuer, named, jwt_tenant_required=True)).tenant == "acme"


async def test_a_tenant_claim_that_is_named_is_required_unless_the_settings_say_otherwise(issuer):
    """Where the issuer forgets it, equal subjects of two tenants would be one caller."""
    token = signing_key().token()
    assert await refuse(issuer, token, jwt_tenant_claim="org") == "tenant"
    assert await refuse(issuer, token, jwt_tenant_claim="tenant") == "tenant"
    lax = await accept(issuer, token, jwt_tenant_claim="org", jwt_tenant_required=False)
    assert lax.tenant is None


# Verified tokens


async def test_a_token_that_was_verified_is_not_verified_again(issuer):
    async with authenticator(issuer) as auth:
        token = f"Bearer {signing_key().token()}"
        assert await auth.authenticate(token) is await auth.authenticate(token)


async def test_a_verified_token_is_refused_once_it_has_expired(issuer):
    async with authenticator(issuer) as auth:
        token = f"Bearer {signing_key().token(exp=int(time.time()) + 2)}"
        expires_at = (await auth.authenticate(token)).expires_at
        reason = await refused_within(5, auth, token)
        assert time.time() >= expires_at
    assert reason == "expired"


async def test_a_verified_token_is_refused_once_the_issuer_has_withdrawn_its_key(issuer):
    async with authenticator(issuer, jwks_cache_seconds=0.05, jwks_cooldown_seconds=0.01) as auth:
        token = f"Bearer {signing_key().token()}"
        await auth.authenticate(token)
        issuer.serve(signing_key("k2"))
        assert await refused_within(5, auth, token) == "unknown_key"


# The context


async def test_the_context_holds_the_token_only_with_forward_token(issuer):
    token = signing_key().token()
    for forward, key, expected in ((False, None, None), (True, "x", token)):
        async with authenticator(issuer, forward_token=forward, forward_token_key=key) as auth:
            identity = await auth.authenticate(f"Bearer {token}")
            context = identity.context(
                auth.settings, metadata={"page": 1}, locale="de", request_id="r", run_id="run"
            )
        assert context.bearer_token == expected
        assert (context.user_id, context.locale, context.metadata) == ("alice", "de", {"page": 1})
        assert (context.request_id, context.run_id) == ("r", "run")
        assert token not in repr(context)


async def test_what_a_server_does_to_the_claims_of_one_request_is_not_seen_by_the_next(issuer):
    async with authenticator(issuer) as auth:
        token = f"Bearer {signing_key().token(roles=['reader'])}"
        first = (await auth.authenticate(token)).context(
            auth.settings, metadata={}, locale=None, request_id="1"
        )
        first.claims["roles"].append("admin")
        second = (await auth.authenticate(token)).context(
            auth.settings, metadata={}, locale=None, request_id="2"
        )
    assert second.claims["roles"] == ["reader"]


@pytest.mark.parametrize(
    ("kept", "names"),
    [("", {"iss", "aud", "sub", "iat", "exp", "roles", "email"}), ("roles, https://x.test/org", {"roles"})],
)
async def test_the_context_holds_the_claims_that_the_settings_keep(issuer, kept, names):
    token = signing_key().token(roles=["reader"], email="alice@x.test", tenant=None)
    async with authenticator(issuer, jwt_context_claims=kept) as auth:
        identity = await auth.authenticate(f"Bearer {token}")
        context = identity.context(auth.settings, metadata={}, locale=None, request_id="r")
    assert context.claims.keys() == names
    assert (context.user_id, identity.claims["email"]) == ("alice", "alice@x.test")


@pytest.mark.parametrize(
    ("header", "locale"),
    [
        (None, None),
        ("", None),
        ("de", "de"),
        ("de-CH, de;q=0.9, en;q=0.8", "de-CH"),
        ("zh-Hant-TW;q=0.5", "zh-Hant-TW"),
        ("*", None),
        ("de\x00", None),
        ("../../etc", None),
        ("a" * 300, None),
        ("-".join(["abcdefgh"] * 5), None),
    ],
)
def test_the_locale_is_the_first_language_where_it_is_one(header, locale):
    assert locale_of(header) == locale


async def refused_within(seconds: float, auth: Authenticator, header: str) -> str | None:
    """The reason of the refusal that ends the acceptance of `header`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            await auth.authenticate(header)
        except Unauthenticated as error:
            return error.reason
        await asyncio.sleep(0.01)
    pytest.fail("the token went on being accepted")


def sign_raw(header: dict[str, object], payload: object) -> str:
    """Signed by the Ed25519 key `ed`, whatever header and payload are."""
    unsigned = raw_token(header, payload).rsplit(".", 1)[0]
    signature = signing_key("ed", "EdDSA").private.sign(unsigned.encode())
    return f"{unsigned}.{raw_token({}, {}, signature).rsplit('.', 1)[1]}"
