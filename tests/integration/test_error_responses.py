"""What a client sees, and a log keeps, when a route fails: over a real socket."""

from __future__ import annotations

import io
import logging

import httpx2
import pytest
from fastapi import FastAPI, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from structlog.testing import capture_logs

from relaykit.api.http.errors import install_error_handlers
from relaykit.api.http.headers import add_http_headers
from relaykit.shared.errors import DatabaseUnavailable, ThreadBusy
from tests.integration.http_app import serving
from tests.integration.jwks_server import JwksServer, settings_for

SECRET = "what the user wrote"
ORIGIN = "https://site.test"


class Body(BaseModel):
    number: int


def an_app(**changes) -> FastAPI:
    app = FastAPI()
    install_error_handlers(app)
    add_http_headers(app, settings_for(JwksServer(), cors_origins=f"{ORIGIN}/", **changes))

    @app.get("/busy")
    async def busy() -> None:
        raise ThreadBusy("run_1")

    @app.get("/database")
    async def database() -> None:
        raise DatabaseUnavailable(SECRET, retry_after_seconds=3)

    @app.get("/bug")
    async def bug() -> None:
        raise ValueError(SECRET)

    @app.get("/group")
    async def group() -> None:
        raise ExceptionGroup(SECRET, [ValueError(SECRET)])

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, SECRET, {"X-Tea": "1"})

    @app.get("/odd")
    async def odd() -> None:
        raise HTTPException(499, SECRET)

    @app.get("/cut")
    async def cut() -> StreamingResponse:
        async def parts():
            yield b"first"
            raise ValueError(SECRET)

        return StreamingResponse(parts(), media_type="text/event-stream")

    @app.get("/own-policy")
    async def own_policy() -> Response:
        return Response(headers={"Referrer-Policy": "same-origin"})

    @app.post("/body")
    async def body(body: Body) -> None:
        pass

    return app


@pytest.fixture
def lines():
    """Every line of the server's and of the standard library's loggers, and of ours."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    names = ["uvicorn", "uvicorn.error", "uvicorn.access"]
    loggers = [root, *(logging.getLogger(name) for name in names)]
    before = [(logger.level, logger.propagate) for logger in loggers]
    root.addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.propagate = True
    with capture_logs() as ours:
        yield lambda: stream.getvalue() + str(ours)
    root.removeHandler(handler)
    for logger, (level, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate = propagate


async def ask(path: str, method: str = "GET", app: FastAPI | None = None, **request) -> httpx2.Response:
    async with serving(app or an_app()) as url, httpx2.AsyncClient() as client:
        return await client.request(method, url + path, **request)


async def test_a_domain_error_has_its_status_and_body():
    response = await ask("/busy")
    assert response.status_code == 409
    assert response.json()["error"]["code"] == "thread_busy"
    assert response.json()["error"]["run_id"] == "run_1"


async def test_a_service_that_is_away_tells_when_to_retry_and_is_logged_without_its_text(lines):
    response = await ask("/database")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "3")
    assert SECRET not in response.text
    assert "database_unavailable" in lines()
    assert SECRET not in lines()


@pytest.mark.parametrize("path", ["/bug", "/group"])
async def test_an_exception_that_nobody_foresaw_is_internal_and_its_text_is_nowhere(lines, path):
    response = await ask(path, headers={"Origin": ORIGIN})
    assert response.status_code == 500
    assert response.json() == {"error": {"code": "internal", "message": "Something went wrong."}}
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "request_failed" in lines()
    assert "test_error_responses.py" in lines(), "the log does not say where it was raised"
    assert SECRET not in lines()


async def test_an_answer_that_fails_midway_is_cut_and_not_ended(lines):
    with pytest.raises(httpx2.RemoteProtocolError):
        await ask("/cut")
    assert "request_failed" in lines()
    assert SECRET not in lines()


async def test_an_unknown_route_has_the_same_shape():
    response = await ask("/nowhere")
    assert response.status_code == 404
    assert response.json() == {"error": {"code": "not_found", "message": "Not Found."}}


async def test_a_wrong_method_has_the_same_shape_and_names_the_right_one():
    response = await ask("/busy", "DELETE")
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"
    assert response.headers["Allow"] == "GET"


@pytest.mark.parametrize(("path", "status"), [("/teapot", 418), ("/odd", 499)])
async def test_any_other_status_of_the_framework_has_the_same_shape_and_not_its_text(path, status):
    response = await ask(path)
    assert response.status_code == status
    assert response.json()["error"]["code"] == f"http_{status}"
    assert SECRET not in response.text


async def test_a_body_that_is_no_json_is_told_apart_from_one_with_a_wrong_field(lines):
    response = await ask(
        "/body", "POST", content=f'{{"{SECRET}', headers={"Content-Type": "application/json"}
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
    assert SECRET not in response.text + lines()


async def test_a_wrong_field_is_located_without_its_value(lines):
    response = await ask("/body", "POST", json={"number": SECRET})
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "invalid_request"
    assert response.json()["error"]["locations"] == ["body.number"]
    assert SECRET not in response.text + lines()


# The headers of every answer


async def test_every_answer_carries_the_security_headers():
    async with serving(an_app()) as url, httpx2.AsyncClient() as client:
        for path in ("/busy", "/bug", "/nowhere", "/body"):
            response = await client.get(url + path)
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"


async def test_a_route_may_set_a_security_header_itself():
    response = await ask("/own-policy")
    assert response.headers.get_list("Referrer-Policy") == ["same-origin"]


def preflight(*headers: str, origin: str = ORIGIN) -> dict[str, str]:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return asked | ({"Access-Control-Request-Headers": ", ".join(headers)} if headers else {})


async def test_an_allowed_origin_may_send_what_chatkit_and_the_client_send():
    headers = preflight(
        "authorization",
        "content-type",
        "idempotency-key",
        "last-event-id",
        "relaykit-resume",
        "chatkit-frame-instance-id",
    )
    response = await ask("/body", "OPTIONS", headers=headers)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_an_allowed_origin_may_use_each_method_of_the_api(method):
    headers = preflight() | {"Access-Control-Request-Method": method}
    assert (await ask("/body", "OPTIONS", headers=headers)).status_code == 200


async def test_an_allowed_origin_may_read_the_run_id():
    response = await ask("/busy", headers={"Origin": ORIGIN})
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "X-Run-Id" in response.headers["Access-Control-Expose-Headers"]
    assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize("origin", ["https://evil.test", f"{ORIGIN}.evil.test", "null", "http://site.test"])
async def test_another_origin_may_neither_ask_nor_read(origin):
    async with serving(an_app()) as url, httpx2.AsyncClient() as client:
        asked = await client.options(url + "/body", headers=preflight(origin=origin))
        read = await client.get(url + "/busy", headers={"Origin": origin})
    assert asked.status_code == 400
    for response in (asked, read):
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_a_header_that_is_not_on_the_list_may_not_be_sent():
    assert (await ask("/body", "OPTIONS", headers=preflight("x-other"))).status_code == 400


async def test_without_cors_origins_no_origin_is_allowed():
    app = FastAPI()
    add_http_headers(app, settings_for(JwksServer()))
    response = await ask("/", app=app, headers={"Origin": ORIGIN})
    assert not [name for name in response.headers if name.lower().startswith("access-control")]
