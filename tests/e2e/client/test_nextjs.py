"""The Next.js example, built for production and running: the token is in a cookie that JavaScript cannot read."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.client.site_processes import PAGE, ROOT, Site, required
from tests.e2e.client.test_react import WORDS, ask, await_word, shown_errors
from tests.e2e.client.visitor import Visitor
from tests.local_mode import wait_until
from tests.system import free_port

FOLDER = ROOT / "web" / "nextjs"
ANSWER = f"{WORDS} at 40"


@pytest.fixture(scope="module")
def nextjs(site: Site) -> Iterator[str]:
    """`next start` in front of the site; its address."""
    assert (FOLDER / ".next" / "BUILD_ID").exists(), "not built: make web"
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    log = site.folder / "nextjs.log"
    command = [required("node"), str(ROOT / "web/node_modules/next/dist/bin/next"), "start", str(FOLDER)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "-H", "127.0.0.1", "-p", str(port)],
            env={
                "PATH": "/usr/bin:/bin",
                "RELAYKIT_URL": site.address,
                "COOKIE_INSECURE": "1",
                "NEXT_TELEMETRY_DISABLED": "1",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        wait_until("Next.js answers", lambda: _answers(process, f"{address}/"))
        yield address
    finally:
        process.terminate()
        process.wait(20)


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


def test_stop_goes_through(visitor: Visitor) -> None:
    ask(visitor.page, ANSWER)
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


def test_the_stream_is_not_held_back_and_its_ids_go_through(nextjs: str, visitor: Visitor) -> None:
    cookie = {"cookie": f"session={token_of(visitor)}"}
    with httpx2.stream(
        "POST",
        f"{nextjs}/api/chatkit",
        json=asking("40 at 10"),
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
        assert ": end completed" in lines
    resumed = httpx2.get(
        f"{nextjs}/api/runs/{run_id}/events",
        headers={**cookie, "last-event-id": "1-2"},
    )
    assert "id: 1-2\n" not in resumed.text
    assert resumed.text.rstrip().endswith(": end completed")


def test_a_browser_that_leaves_ends_the_request_to_the_api(site: Site, nextjs: str, visitor: Visitor) -> None:
    cookie = {"cookie": f"session={token_of(visitor)}"}
    before = open_streams(site)
    with httpx2.stream("POST", f"{nextjs}/api/chatkit", json=asking("200 at 10"), headers=cookie) as answer:
        run_id = answer.headers["x-run-id"]
        lines = answer.iter_lines()  # kept: without it the response would close
        assert next(line for line in lines if "wörd1 " in line)
        assert open_streams(site) == before + 1
    wait_until("the API has one stream less", lambda: open_streams(site) == before)
    stopped = httpx2.post(f"{nextjs}/api/runs/{run_id}/cancel", headers=cookie)
    assert stopped.status_code == 202, "the run went on without the browser"


def open_streams(site: Site) -> int:
    metrics = httpx2.get(f"{site.address}/metrics").text
    [value] = [line.split()[1] for line in metrics.splitlines() if line.startswith("relaykit_streams ")]
    return int(float(value))


def asking(text: str) -> dict[str, object]:
    given = {"content": [{"type": "input_text", "text": text}], "attachments": [], "inference_options": {}}
    return {"type": "threads.create", "params": {"input": given}}


def test_bytes_and_errors_of_the_api_go_through(nextjs: str, visitor: Visitor) -> None:
    cookie = {"cookie": f"session={token_of(visitor)}", "content-type": "image/png"}
    answer = httpx2.put(f"{nextjs}/api/attachments/none", content=b"bytes" * 1000, headers=cookie)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"]
    shown = httpx2.get(f"{nextjs}/api/attachments/none?signed=no", headers={"sec-fetch-site": "cross-site"})
    assert shown.json() == answer.json(), (
        "a signed link is shown in the frame of another site, without the cookie"
    )
