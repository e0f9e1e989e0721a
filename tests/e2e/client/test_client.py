"""An answer goes on through whatever happens: a real Chromium, the client, real processes behind nginx.

Answers wait in their middle until all has been done to them, and many visitors have theirs at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page

from tests.e2e.client.server import held
from tests.e2e.client.site_processes import Site
from tests.e2e.client.visitor import Visitor
from tests.e2e.page.cutting_proxy import CuttingProxy
from tests.support.leases import end_lease
from tests.support.processes.local_mode import wait_until

CUT_EVERY_SECONDS = 3.0
WORDS = 200
HOLD = WORDS // 2


def assert_whole(site: Site, visitor: Visitor, page: Page | None = None, *, flickers: bool = False) -> None:
    """What the page shows is what is stored, to the last word, and never was anything else on the way there."""
    visitor.await_end(page)
    text = visitor.text(page)
    assert text == visitor.stored_text(site.address), visitor.name
    assert text.endswith(f"wörd{WORDS - 1} "), visitor.name
    assert visitor.known("errors", page) == [], visitor.name
    if not flickers:
        assert visitor.known("flickers", page) == [], visitor.name


def await_reconnecting(visitor: Visitor, times: int = 1) -> None:
    visitor.page.wait_for_function(
        "times => site.telemetry.filter(({ type }) => type === 'reconnecting').length >= times", arg=times
    )


def causes(visitor: Visitor) -> list[str]:
    """Why the page had to connect anew."""
    told = visitor.known("telemetry")
    return [happened["cause"] for happened in told if happened["type"] == "reconnecting"]


def test_what_happens_to_the_browser_costs_no_word(
    site: Site, visitors: Callable[..., Visitor], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with CuttingProxy(site.address) as wire, CuttingProxy(site.address) as impatient:
        offline = visitors("offline", wire.address)
        cut = visitors("cut", impatient.address)
        frozen, expired = visitors("frozen"), visitors("expired", ttl_seconds=4)
        reloaded, tabs, left = visitors("reloaded"), visitors("tabs"), visitors("left")
        everybody = [offline, cut, frozen, expired, reloaded, tabs, left]
        for each in everybody:
            each.send(held(gate))
        for each in everybody:
            each.await_words(20)

        cutting = threading.Event()

        def cut_on() -> None:
            while not cutting.wait(CUT_EVERY_SECONDS):
                impatient.cut()

        threading.Thread(target=cut_on, daemon=True).start()
        offline.context.set_offline(True)
        wire.go_down()
        lifecycle = frozen.context.new_cdp_session(frozen.page)
        lifecycle.send("Page.setWebLifecycleState", {"state": "frozen"})
        reloaded.page.reload()
        second = tabs.second_tab()
        left.page.goto("about:blank")
        left_url = f"/site/index.html?user=left&ttl=600&thread={_thread_of(left, site)}"

        reloaded.await_ready().await_words(HOLD - 1)
        lifecycle.send("Page.setWebLifecycleState", {"state": "active"})
        offline.page.wait_for_function(
            "['offline', 'reconnecting'].some((state) => site.states.includes(state))"
        )
        await_reconnecting(cut, times=2)
        expired.page.wait_for_function("site.tokens >= 3")
        wire.come_back()
        offline.context.set_offline(False)
        left.page.goto(left_url)
        left.await_ready()
        gate.touch()

        assert_whole(site, offline)
        assert_whole(site, cut)
        cutting.set()
        for each in (frozen, expired, reloaded, tabs, left):
            assert_whole(site, each)
        assert_whole(site, tabs, second)
        assert offline.known("states").count("idle") == 1
        assert causes(reloaded) == []


def _thread_of(visitor: Visitor, site: Site) -> str:
    """The newest thread of a visitor who has left the page."""
    listed = visitor.ask(site.address, "/chatkit", {"type": "threads.list", "params": {"limit": 1}})
    thread_id: str = listed["data"][0]["id"]
    return thread_id


def test_what_happens_to_the_servers_costs_no_word(
    site: Site, visitors: Callable[..., Visitor], tmp_path: Path
) -> None:
    another = site.start_api()  # a client does not wait for as long as a start may take
    ada, bob = visitors("ada"), visitors("bob")
    for each in (ada, bob):
        each.send(held(tmp_path / "gate"))
    for each in (ada, bob):
        each.await_words(20)
    assert site.api is not None
    site.api.kill()
    for each in (ada, bob):
        await_reconnecting(each)
    site.pass_to(*another)
    (tmp_path / "gate").touch()
    for each in (ada, bob):
        assert_whole(site, each)


def test_a_lost_worker_is_the_only_reason_to_take_words_back(
    site: Site, visitors: Callable[..., Visitor], tmp_path: Path
) -> None:
    visitor = visitors("lost")
    visitor.send(held(tmp_path / "gate"))
    visitor.await_words(20)
    assert site.worker is not None
    site.worker.kill()
    run = visitor.active_run(site.address)
    assert run is not None
    end_lease(site.settings.redis_url, run["id"])
    (tmp_path / "gate").touch()
    site.start_worker()
    visitor.page.wait_for_function("site.flickers.length > 0")
    assert_whole(site, visitor, flickers=True)
    [[before, after]] = visitor.known("flickers")
    assert before
    assert after is None, "the words went away all at once"


def test_stop_keeps_what_was_written(site: Site, visitors: Callable[..., Visitor], tmp_path: Path) -> None:
    visitor = visitors("stopped")
    visitor.send(held(tmp_path / "never"))
    visitor.await_words(20)
    visitor.page.get_by_role("button", name="Stop").click()
    visitor.await_end()
    wait_until("the run is over", lambda: visitor.active_run(site.address) is None)
    shown, stored = visitor.text(), visitor.stored_text(site.address)
    assert "wörd20 " in stored
    assert f"wörd{WORDS - 1} " not in stored
    assert stored.startswith(shown)
    assert visitor.known("telemetry").count({"type": "stopped", "runId": _run_id(visitor)}) == 1


def _run_id(visitor: Visitor) -> str:
    [run_id] = {told["runId"] for told in visitor.known("telemetry") if told["type"] == "first_event"}
    return run_id


def test_a_thread_whose_answer_is_over_is_there_at_once(site: Site, visitors: Callable[..., Visitor]) -> None:
    visitor = visitors("over")
    visitor.send("20 at 200")
    visitor.await_words(19)
    visitor.await_end()
    visitor.page.reload()
    visitor.await_ready()
    assert visitor.text() == visitor.stored_text(site.address)


WITHOUT_ITS_END = r"""async () => {
    const { createChatKitFetch, readEvents } = await import("/client/index.js");
    const { runId } = site.telemetry.find(({ type }) => type === "ended");
    const told = [];
    const cut = async (input, init) => {
        const response = await fetch(input, init);
        if (!String(input).endsWith("/events") || init.headers.has("last-event-id")) return response;
        const text = (await response.text()).replace(/: end .*\n\n/, "");
        return new Response(text, { headers: response.headers });
    };
    const onTelemetry = (happened) => told.push(happened);
    const chat = createChatKitFetch({ url: "/chatkit", getToken, fetch: cut, onTelemetry });
    const action = { type: "relaykit.resume", payload: { run_id: runId } };
    const body = JSON.stringify({ type: "threads.custom_action", params: { action } });
    const response = await chat("/chatkit", { method: "POST", body });
    const events = [];
    for await (const { event } of readEvents(response)) events.push(event.type);
    return [events.at(-1), told.filter(({ type }) => type === "reconnecting").length, told.at(-1).type];
}"""


def test_a_stream_that_lacks_nothing_but_its_end_ends(visitors: Callable[..., Visitor]) -> None:
    visitor = visitors("at-the-cursor")
    visitor.send("20 at 200")
    visitor.await_words(19)
    visitor.await_end()
    assert visitor.page.evaluate(WITHOUT_ITS_END) == ["thread.item.done", 1, "ended"]


def test_the_page_is_told_in_every_message(visitors: Callable[..., Visitor]) -> None:
    visitor = visitors("context")
    visitor.send("1 at 10")
    visitor.await_words(0)
    assert visitor.text().startswith("/site/index.html ['Support', 'Orders & returns']: ")


def test_the_page_context_has_the_parameters_of_the_address_that_the_site_names_and_no_others(
    site: Site, visitors: Callable[..., Visitor]
) -> None:
    page = visitors("parameters").page
    address = f"{site.address}/site/index.html"
    page.goto(f"{address}?user=parameters&reset_token=secret&tab=a%26b&tab=c#fragment")
    asked = "async (given) => (await import('/client/index.js')).pageContext(given).url"
    assert page.evaluate("async () => (await import('/client/index.js')).pageContext().url") == address
    assert page.evaluate(asked, {"query": []}) == address
    assert page.evaluate(asked, {"query": ["tab", "none"]}) == f"{address}?tab=a%26b&tab=c"
    assert (
        page.evaluate(asked, {"query": True})
        == f"{address}?user=parameters&reset_token=secret&tab=a%26b&tab=c"
    )


def test_the_page_context_is_bounded_and_keeps_secrets_of_the_address_to_itself(
    site: Site, visitors: Callable[..., Visitor]
) -> None:
    page = visitors("bounded").page
    page.goto(f"{site.address}/site/index.html?user=bounded#access_token=secret")
    found = page.evaluate(
        """async () => {
            const { pageContext } = await import("/client/index.js");
            document.title = "x".repeat(5_000);
            const main = document.querySelector("main");
            for (let i = 0; i < 20; i++) main.insertAdjacentHTML("beforeend", `<h3> heading \n ${i}</h3><h2> </h2>`);
            return pageContext();
        }"""
    )
    assert found["url"] == f"{site.address}/site/index.html"
    assert found["path"] == "/site/index.html"
    assert found["description"] == "What the tests of the client look at."
    assert len(found["title"]) == 300
    assert found["headings"] == ["Support", "Orders & returns", "heading 0", "heading 1", "heading 2"]


def test_whether_the_element_is_there_is_told_as_it_changes(visitors: Callable[..., Visitor]) -> None:
    seen = visitors("ready").page.evaluate(
        """async () => {
            const { chatKitReady } = await import("/client/index.js");
            const ready = chatKitReady({ element: "late-element", timeoutMs: 50 });
            const seen = [ready.state];
            await new Promise((resolve) => ready.subscribe(() => resolve(seen.push(ready.state))));
            const come = new Promise((resolve) => ready.subscribe(() => resolve(seen.push(ready.state))));
            customElements.define("late-element", class extends HTMLElement {});
            await come;
            return [...seen, chatKitReady({ element: "late-element" }).state];
        }"""
    )
    assert [*dict.fromkeys(seen)] == ["pending", "error", "ready"]
