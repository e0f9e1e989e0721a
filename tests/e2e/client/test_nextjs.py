"""The Next.js example, built for production and running: the token is in a cookie that JavaScript cannot read."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.client.server import held
from tests.e2e.client.site_processes import PAGE, ROOT, Site, required
from tests.e2e.client.test_react import WORDS, ask, await_word, shown_errors
from tests.e2e.client.visitor import WAIT_MS, Visitor
from tests.support.processes.local_mode import wait_until
from tests.support.system import free_port

FOLDER = ROOT / "web" / "nextjs"
ANSWER = f"{WORDS} at 40"


@dataclass
class NextServer:
    address: str
    port: int
    log: Path


@contextmanager
def next_server(site: Site, **env: str) -> Iterator[NextServer]:
    """The example's own `npm start` in front of the site, on a free port."""
    assert (FOLDER / ".next" / "BUILD_ID").exists(), "not built: make web"
    program, *arguments = shlex.split(json.loads((FOLDER / "package.json").read_text())["scripts"]["start"])
    assert program == "next"
    port = free_port()
    server = NextServer(f"http://127.0.0.1:{port}", port, site.folder / f"nextjs-{port}.log")
    command = [
        required("node"),
        str(ROOT / "web/node_modules/next/dist/bin/next"),
        *arguments,
        "-p",
        str(port),
    ]
    with server.log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=FOLDER,
            env={
                "PATH": "/usr/bin:/bin",
                "RELAYKIT_URL": site.address,
                "NEXT_TELEMETRY_DISABLED": "1",
                **env,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        wait_until("Next.js answers", lambda: _answers(process, f"{server.address}/"))
        yield server
    finally:
        process.terminate()
        process.wait(120)


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[NextServer]:
    """Without TLS, and so with the setting for that."""
    with next_server(site, COOKIE_INSECURE="1") as running:
        yield running


@pytest.fixture(scope="module")
def nextjs(server: NextServer) -> str:
    """Its address."""
    return server.address


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    assert process.poll() is None, "next start ended"
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture
def visitor(browser: Browser, nextjs: str, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """Signed in. At the end the page has had no error of its own."""
    visitor = Visitor(browser, nextjs, request.node.name)
    visitor.serve_chatkit_script((PAGE / "stock_element.js").read_text())
    visitor.page.goto("/")
    visitor.page.get_by_label("Your name").fill(visitor.name)
    visitor.page.get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_label("Message to the assistant")).to_be_visible()
    yield visitor
    visitor.context.close()
    assert visitor.errors == []


def test_a_reload_in_mid_answer_loses_nothing(visitor: Visitor) -> None:
    ask(visitor.page, ANSWER)
    await_word(visitor, 10)
    visitor.page.reload()
    expect(visitor.page.locator("[data-type=user_message]")).to_have_count(1)
    await_word(visitor, WORDS - 1)
    assert shown_errors(visitor) == []


def test_stop_goes_through(visitor: Visitor, tmp_path: Path) -> None:
    ask(visitor.page, held(tmp_path / "never"))
    await_word(visitor, 10)
    visitor.page.get_by_role("button", name="Stop the answer").click()
    expect(visitor.page.locator("output")).to_be_empty()
    text = visitor.page.locator("[data-type=assistant_message]").inner_text()
    assert f"wörd{WORDS - 1} " not in text


def test_the_page_serves_everybody(visitor: Visitor, shots: Path | None) -> None:
    ask(visitor.page, "60 at 200")
    await_word(visitor, 59)
    visitor.assert_accessible()
    visitor.picture(shots, "nextjs-wide")
    visitor.assert_fits(360)
    visitor.picture(shots, "nextjs-narrow")


def test_javascript_sees_no_token(visitor: Visitor) -> None:
    [cookie] = [each for each in visitor.context.cookies() if each["name"] == "session"]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    seen = visitor.page.evaluate(
        """async () => [document.cookie, JSON.stringify({...localStorage, ...sessionStorage}),
            document.documentElement.outerHTML, await (await fetch('/')).text()].join()"""
    )
    assert cookie["value"] not in seen


UPLOAD = """async () => {
  const canvas = new OffscreenCanvas(64, 64);
  canvas.getContext("2d").fillRect(0, 0, 64, 64);
  const file = await canvas.convertToBlob();
  const params = {name: "dot.png", size: file.size, mime_type: "image/png"};
  const body = JSON.stringify({type: "attachments.create", params});
  const headers = {"content-type": "application/json"};
  const made = await (await fetch("/api/chatkit", {method: "POST", headers, body})).json();
  const here = (address) => { const url = new URL(address); return `/api${url.pathname}${url.search}`; };
  const {url, method, headers: given} = made.upload_descriptor;
  const put = await fetch(here(url), {method, headers: given, body: file, credentials: "omit"});
  const got = await fetch(here(made.preview_url), {credentials: "omit"});
  const same = (await got.blob()).size === file.size;
  return {put: put.status, got: got.status, same, type: got.headers.get("content-type"), made: made.id};
}"""


def test_a_file_goes_through_and_comes_back_by_signed_links(visitor: Visitor) -> None:
    """As with PUBLIC_URL at the site's `/api`: its links differ in nothing but the origin and the path's beginning."""
    sent = visitor.page.evaluate(UPLOAD)
    assert (sent["put"], sent["got"], sent["same"], sent["type"]) == (204, 200, True, "image/png"), sent


@dataclass
class Sent:
    status: int
    body: str
    media_type: str


def post(nextjs: str, path: str, token: str | None, **headers: str) -> Sent:
    answer = httpx2.post(
        f"{nextjs}{path}",
        json={"type": "threads.list", "params": {}},
        headers={**headers, **({"cookie": f"session={token}"} if token else {})},
    )
    return Sent(answer.status_code, answer.text, answer.headers["content-type"])


def token_of(visitor: Visitor) -> str:
    [value] = [each["value"] for each in visitor.context.cookies() if each["name"] == "session"]
    return value


def test_without_the_cookie_the_answer_is_401_as_json(nextjs: str) -> None:
    answer = post(nextjs, "/api/chatkit", None)
    assert (answer.status, answer.media_type) == (401, "application/json")
    assert '"unauthenticated"' in answer.body


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
    ],
)
def test_another_site_may_not_use_the_cookie(nextjs: str, visitor: Visitor, headers: dict[str, str]) -> None:
    token = token_of(visitor)
    assert post(nextjs, "/api/chatkit", token, **headers).status == 403
    assert post(nextjs, "/api/session", token, **headers).status == 403
    assert post(nextjs, "/api/chatkit", token, origin=nextjs).status == 200


def test_a_cookie_that_holds_no_token_is_refused_and_breaks_no_page(nextjs: str) -> None:
    assert post(nextjs, "/api/chatkit", "nonsense").status == 401
    assert httpx2.get(f"{nextjs}/", headers={"cookie": "session=a.b.c"}).status_code == 200


def test_the_stream_is_not_held_back_and_its_ids_go_through(
    nextjs: str, visitor: Visitor, tmp_path: Path
) -> None:
    cookie = {"cookie": f"session={token_of(visitor)}"}
    with httpx2.stream(
        "POST",
        f"{nextjs}/api/chatkit",
        json=asking(held(tmp_path / "gate", 40)),
        headers={**cookie, "accept-encoding": "gzip", "relaykit-resume": "1"},
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        run_id = answer.headers["x-run-id"]
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("id: ")) == "id: 0-1"
        assert next(line for line in lines if "wörd1 " in line)
        status = httpx2.get(f"{nextjs}/api/runs/{run_id}", headers=cookie).json()["status"]
        assert status == "running", "the words came when all of them were written"
        (tmp_path / "gate").touch()
        assert ": end completed" in lines
    resumed = httpx2.get(
        f"{nextjs}/api/runs/{run_id}/events",
        headers={**cookie, "last-event-id": "1-2"},
    )
    assert "id: 1-2\n" not in resumed.text
    assert resumed.text.rstrip().endswith(": end completed")


def test_a_browser_that_leaves_ends_the_request_to_the_api(
    site: Site, nextjs: str, visitor: Visitor, tmp_path: Path
) -> None:
    cookie = {"cookie": f"session={token_of(visitor)}"}
    before = open_streams(site)
    asked = asking(held(tmp_path / "never"))
    with httpx2.stream("POST", f"{nextjs}/api/chatkit", json=asked, headers=cookie) as answer:
        run_id = answer.headers["x-run-id"]
        lines = answer.iter_lines()  # kept: without it the response would close
        assert next(line for line in lines if "wörd1 " in line)
        assert open_streams(site) == before + 1
    wait_until("the API has one stream less", lambda: open_streams(site) == before)
    stopped = httpx2.post(f"{nextjs}/api/runs/{run_id}/cancel", headers=cookie)
    assert stopped.status_code == 202, "the run went on without the browser"


def test_what_the_element_asks_beside_chatkit_goes_through(nextjs: str, visitor: Visitor) -> None:
    cookie = {"cookie": f"session={token_of(visitor)}"}
    answer = httpx2.post(f"{nextjs}/api/chatkit", json=asking("3 at 200"), headers=cookie)
    run_id = answer.headers["x-run-id"]
    thread_id = httpx2.get(f"{nextjs}/api/runs/{run_id}", headers=cookie).json()["thread_id"]
    marks = httpx2.get(f"{nextjs}/api/threads/{thread_id}/marks", headers=cookie)
    assert marks.status_code == 200, marks.text
    assert marks.json() == {"runs": [], "feedback": {}}
    late = httpx2.post(f"{nextjs}/api/runs/{run_id}/withdraw", headers=cookie)
    assert (late.status_code, late.json()["withdrawn"]) == (200, False)
    link = httpx2.get(f"{nextjs}/api/attachments/atc_absent/link", headers=cookie)
    assert (link.status_code, link.json()["error"]["code"]) == (404, "attachment_not_found")


def open_streams(site: Site) -> int:
    metrics = httpx2.get(f"{site.address}/metrics").text
    [value] = [line.split()[1] for line in metrics.splitlines() if line.startswith("relaykit_streams ")]
    return int(float(value))


def asking(text: str) -> dict[str, object]:
    given = {"content": [{"type": "input_text", "text": text}], "attachments": [], "inference_options": {}}
    return {"type": "threads.create", "params": {"input": given}}


def test_another_machine_cannot_reach_what_the_documented_command_starts(server: NextServer) -> None:
    """Local mode behind it would sign in anyone as anyone."""
    with socket.create_connection(("127.0.0.1", server.port)):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port)).close()


@pytest.mark.parametrize("framing", ["Content-Length: 30000000", "Transfer-Encoding: chunked"])
def test_a_sign_in_that_is_too_large_is_refused_before_it_has_come(server: NextServer, framing: str) -> None:
    part = b"x" * 5_000
    body = b"%x\r\n%s\r\n" % (len(part), part) if "chunked" in framing else part
    head = f"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        connection.sendall(head.encode() + body)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_sign_in_of_the_usual_size_is_taken_and_one_that_is_no_json_is_not(nextjs: str) -> None:
    assert httpx2.post(f"{nextjs}/api/session", json={"user": "x" * 3_000}).status_code == 204
    assert httpx2.post(f"{nextjs}/api/session", content=b"no json").status_code == 401
    assert httpx2.post(f"{nextjs}/api/session").status_code == 401


@pytest.mark.parametrize("id_", ["%E0%A4%A", "%E0%A4", "%", "%zz", "a%2f..%2fb", "%00"])
@pytest.mark.parametrize(
    "path",
    [
        "runs/{}/events",
        "runs/{}/cancel",
        "runs/{}/withdraw",
        "runs/{}",
        "threads/{}/run",
        "threads/{}/marks",
        "attachments/{}",
        "attachments/{}/link",
    ],
)
def test_an_id_that_cannot_be_one_is_not_found(server: NextServer, path: str, id_: str) -> None:
    request = f"GET /api/{path.format(id_)} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        connection.sendall(request.encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 404 "), answer
    assert b'"not_found"' in answer


@pytest.mark.parametrize(
    "value", ["first%0d%0asecond", "first%0asecond", "a.b%0d.c", "a.b.c%0a", "%00", "a.b.c d"]
)
def test_a_cookie_that_no_header_can_hold_is_no_session_and_is_not_logged(
    server: NextServer, value: str
) -> None:
    assert post(server.address, "/api/chatkit", value).status == 401
    assert httpx2.get(f"{server.address}/", headers={"cookie": f"session={value}"}).status_code == 200
    assert "first" not in server.log.read_text()
    assert "Headers" not in server.log.read_text()


def test_no_other_site_can_show_the_page_in_a_frame(nextjs: str) -> None:
    for path in ("/", "/api/session", "/none"):
        headers = httpx2.get(f"{nextjs}{path}").headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_over_tls_the_cookie_is_of_this_host_alone_and_sign_out_forgets_it(
    browser: Browser, site: Site
) -> None:
    """A browser takes loopback for as safe as TLS."""
    with next_server(site) as server:
        context = browser.new_context(base_url=server.address)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.route("https://**", lambda route: route.abort())
        page.goto("/")
        page.get_by_label("Your name").fill("hosted")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Sign out").wait_for()
        [cookie] = context.cookies()
        assert (cookie["name"], cookie["secure"], cookie["httpOnly"]) == ("__Host-session", True, True)
        assert post(server.address, "/api/chatkit", cookie["value"]).status == 401, (
            "the other name is no session"
        )
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Your name")).to_be_visible()
        assert context.cookies() == []
        context.close()


def test_an_upload_of_many_megabytes_goes_through_whole(nextjs: str, visitor: Visitor) -> None:
    size = 12_000_000
    params = {"name": "large.pdf", "size": size, "mime_type": "application/pdf"}
    cookie = {"cookie": f"session={token_of(visitor)}"}
    request = {"type": "attachments.create", "params": params}
    made = httpx2.post(f"{nextjs}/api/chatkit", json=request, headers=cookie).json()
    upload = made["upload_descriptor"]
    link = httpx2.URL(upload["url"])
    target = f"{nextjs}/api{link.raw_path.decode()}"
    answer = httpx2.request(upload["method"], target, content=bytes(size), headers=upload["headers"])
    assert answer.status_code == 204, answer.text


def test_bytes_and_errors_of_the_api_go_through(nextjs: str, visitor: Visitor) -> None:
    cookie = {"cookie": f"session={token_of(visitor)}", "content-type": "image/png"}
    answer = httpx2.put(f"{nextjs}/api/attachments/none", content=b"bytes" * 1000, headers=cookie)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"]
    shown = httpx2.get(f"{nextjs}/api/attachments/none?signed=no", headers={"sec-fetch-site": "cross-site"})
    assert shown.json() == answer.json(), (
        "a signed link is shown in the frame of another site, without the cookie"
    )
