"""A page of the site's own on @microsoft/fetch-event-source, which knows nothing of runs.

It drops its stream whenever its tab is hidden, and posts again when it is shown: with the same body and headers, and
the id that came last.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Request, Route

from tests.e2e.client.server import held
from tests.e2e.client.site_processes import ROOT, Site
from tests.e2e.client.visitor import WAIT_MS, Visitor

LIBRARY = ROOT / "web/node_modules/@microsoft/fetch-event-source/lib/esm"
WORDS = 60
PAGE = """<!doctype html><title>A site</title><p>A page.</p><script type="module">
import { fetchEventSource } from "./index";
window.show = (isShown) => {
  Object.defineProperty(document, "hidden", { configurable: true, value: !isShown });
  document.dispatchEvent(new Event("visibilitychange"));
};
window.text = "";
window.runs = [];
window.ask = (token, body, more) => {
  window.isOver = fetchEventSource("/chatkit", {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...more },
    body,
    async onopen(response) {
      if (!response.ok) throw new Error(`${response.status} ${(await response.json()).error.code}`);
      runs.push(response.headers.get("x-run-id"));
    },
    onmessage({ data }) {
      if (!data) return;
      const event = JSON.parse(data);
      if (event.type === "thread.created") window.threadId = event.thread.id;
      if (event.update?.type === "assistant_message.content_part.text_delta") window.text += event.update.delta;
    },
    onerror(error) { throw error; },
  }).then(() => "over", (error) => error.message);
};
document.body.dataset.ready = "";
</script>"""


@pytest.fixture
def visitor(browser: Browser, site: Site, request: pytest.FixtureRequest) -> Any:
    if not LIBRARY.exists():
        assert not os.environ.get("CI"), "CI runs the tests of the client; run `make web`"
        pytest.skip("the browser packages are not installed (make web)")
    visitor = Visitor(browser, site.address, request.node.name)
    _serve(visitor.context)
    visitor.page.goto("/library/page.html")
    visitor.await_ready()
    yield visitor
    visitor.context.close()
    assert visitor.errors == []


def _serve(context: BrowserContext) -> None:
    def give(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name == "page.html":
            route.fulfill(content_type="text/html", body=PAGE)
        else:
            route.fulfill(content_type="text/javascript", path=LIBRARY / f"{name}.js")

    context.route("**/library/*", give)


def ask(visitor: Visitor, request: dict[str, Any], key: dict[str, str]) -> list[Request]:
    """Posts it; the requests for it, which become more."""
    posted: list[Request] = []
    visitor.page.on("request", lambda each: each.url.endswith("/chatkit") and posted.append(each))
    token = visitor.page.evaluate(
        "async name => (await (await fetch('/dev/token', {method: 'POST',"
        " headers: {'content-type': 'application/json'}, body: JSON.stringify({sub: name})})).json()).access_token",
        visitor.name,
    )
    body = json.dumps(request)
    visitor.page.evaluate("([token, body, key]) => ask(token, body, key)", [token, body, key])
    return posted


def await_word(visitor: Visitor, number: int) -> None:
    visitor.page.wait_for_function("word => text.includes(word)", arg=f"wörd{number} ", timeout=WAIT_MS)


def new_thread(text: str) -> dict[str, Any]:
    given = {"content": [{"type": "input_text", "text": text}], "attachments": [], "inference_options": {}}
    return {"type": "threads.create", "params": {"input": given}}


@pytest.mark.parametrize("key", [{}, {"idempotency-key": "k1"}], ids=["without a key", "with a key"])
@pytest.mark.parametrize("is_over", [False, True], ids=["while it goes on", "after it has ended"])
def test_a_hidden_tab_that_is_shown_again_has_one_whole_answer(
    visitor: Visitor, site: Site, key: dict[str, str], is_over: bool, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    posted = ask(visitor, new_thread(held(gate, WORDS, 60)), key)
    await_word(visitor, 5)
    visitor.page.evaluate("show(false)")
    thread_id = visitor.page.evaluate("threadId")
    seen = visitor.page.evaluate("text")
    if is_over:
        gate.touch()
        _await_end(visitor, site, thread_id)
    visitor.page.evaluate("show(true)")
    gate.touch()
    assert visitor.page.evaluate("isOver") == "over"
    text = visitor.page.evaluate("text")
    params = {"thread_id": thread_id, "limit": 100, "order": "asc"}
    items = visitor.ask(site.address, "/chatkit", {"type": "items.list", "params": params})["data"]
    assert [item["type"] for item in items] == ["user_message", "assistant_message"]
    assert text == items[1]["content"][0]["text"]
    assert text.startswith(seen)
    assert len(text) > len(seen)
    listed = visitor.ask(site.address, "/chatkit", {"type": "threads.list", "params": {}})["data"]
    assert [thread["id"] for thread in listed] == [thread_id]
    first, again = posted
    assert "last-event-id" not in first.headers
    assert again.headers["last-event-id"]
    assert len(set(visitor.page.evaluate("runs"))) == 1


def _await_end(visitor: Visitor, site: Site, thread_id: str) -> None:
    while visitor.ask(site.address, f"/threads/{thread_id}/run", None) is not None:
        visitor.page.wait_for_timeout(100)


def test_a_tab_that_meant_something_else_is_told(visitor: Visitor, site: Site) -> None:
    """No run is its own: it hears a code, and nothing is said on its behalf."""
    ask(visitor, new_thread("5 at 50"), {"last-event-id": "1-4"})
    assert visitor.page.evaluate("isOver") == "409 nothing_to_resume"
    assert visitor.ask(site.address, "/chatkit", {"type": "threads.list", "params": {}})["data"] == []
