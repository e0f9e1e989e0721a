"""The operators' console in a real browser, on a real deployment: what it shows, what it does, and for whom it can be
used."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Route, expect

from relaykit.shared.settings import Settings
from tests.e2e.axe import assert_accessible
from tests.e2e.page.cutting_proxy import CuttingProxy
from tests.support.processes.local_mode import wait_until
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.sites.console_site import ConsoleSite, console_site

pytestmark = pytest.mark.browser

WAIT_MS = 60_000
expect.set_options(timeout=60_000)
# What Chromium itself says of requests that were refused or failed, whether or not the page minds.
NETWORK = re.compile(r"Failed to load resource|net::ERR_")
WIDE = {"width": 1400, "height": 900}
NARROW = {"width": 360, "height": 740}
# A page asks again every three seconds, and later and later while it fails: here all of that is ten times as fast.
HURRY = """
const real = window.setTimeout;
window.setTimeout = (call, ms, ...given) => real(call, ms / 10, ...given);
"""


class Operator:
    """In front of the console, with a browser of their own. `errors` is what the console of the browser said."""

    def __init__(self, browser: Browser, address: str, *, is_hurried: bool = True, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(base_url=address, **{"viewport": WIDE, **options})
        self.context.set_default_timeout(WAIT_MS)
        if is_hurried:
            self.context.add_init_script(HURRY)
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page = self.new_tab()

    def new_tab(self) -> Page:
        page = self.context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(error.stack or error.message))
        page.on("request", lambda request: self.asked.append(request.url))
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not NETWORK.search(message.text):
            self.errors.append(f"{message.text} ({message.location})")

    def open(self, fragment: str = "/") -> Page:
        """The console at this place of it."""
        self.page.goto("about:blank")  # so that another fragment of the same address is a new start
        self.page.goto(f"/ops#{fragment}")
        return self.page

    def give(self, token: str) -> None:
        self.page.get_by_label("Token of an operator").fill(token)
        self.page.get_by_role("button", name="Sign in").click()

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def figure(self, name: str) -> Locator:
        return self.page.locator(".figures div", has=self.page.get_by_text(name, exact=True)).locator("dd")

    def table(self, name: str) -> Locator:
        return self.page.get_by_role("table", name=name, exact=True)

    def lines(self, name: str) -> list[list[str]]:
        """The cells of a table."""
        return [row.locator("th, td").all_inner_texts() for row in self.table(name).locator("tbody tr").all()]

    def shot(self, shots: Path | None, name: str) -> None:
        if shots:
            self.page.screenshot(path=shots / f"console-{name}.png", full_page=True)


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Iterator[ConsoleSite]:
    with console_site(settings, tmp_path) as running:
        yield running


@pytest.fixture
def operators(browser: Browser, site: ConsoleSite) -> Iterator[Callable[..., Operator]]:
    """Makes operators. At the end none of their pages has had an error of its own."""
    made: list[Operator] = []

    def make(at: str | None = None, **options: Any) -> Operator:
        made.append(Operator(browser, at or site.address, **options))
        return made[-1]

    yield make
    for each in made:
        each.context.close()
    assert [error for each in made for error in each.errors] == []


@pytest.fixture
def operator(operators: Callable[..., Operator]) -> Operator:
    return operators()


def test_a_run_that_no_worker_takes_is_seen_found_and_cancelled(
    operator: Operator, site: ConsoleSite, shots: Path | None
) -> None:
    """Local mode signs in by itself. Nothing is done before the question is answered, and Enter and Escape do not."""
    run_id, other = site.accept(Script(), "alice"), site.accept(Script(), "bob")
    page = operator.open()
    expect(page.get_by_label("What stands out")).to_contain_text("No worker is there: no run is executed.")
    expect(page.get_by_label("What stands out")).to_contain_text("2 runs wait for a worker")
    expect(operator.figure("Due")).to_have_text("2")
    expect(operator.figure("Workers that take runs")).to_have_text("0 of 0")
    assert [line[0] for line in operator.lines("Callers with the most runs")] == ["alice", "bob"]
    operator.shot(shots, "no-worker")
    operator.figure("Due").get_by_role("link").click()
    expect(operator.table("Runs").locator("tbody tr")).to_have_count(2)
    page.get_by_label("User").fill("alice")
    page.get_by_role("button", name="Search").click()
    expect(operator.table("Runs").locator("tbody tr")).to_have_count(1)
    assert page.url.endswith("/ops#/runs?status=queued&user=alice")
    page.get_by_role("link", name=run_id).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Run {run_id}")
    expect(page.locator(".run-state")).to_contain_text("waits for a worker")
    ask = page.get_by_role("button", name="Cancel …")
    ask.click()
    expect(operator.dialog).to_contain_text(run_id)
    expect(operator.dialog).to_contain_text("It has not begun, so it ends at once, and no worker is needed.")
    leave = operator.dialog.get_by_role("button", name="Leave it as it is")
    expect(leave).to_be_focused()
    operator.shot(shots, "question")
    page.keyboard.press("Enter")
    expect(operator.dialog).to_be_hidden()
    ask.click()
    page.keyboard.press("Escape")
    expect(operator.dialog).to_be_hidden()
    expect(ask).to_be_focused()
    assert (site.ask(f"runs/{run_id}")["status"], site.ask("overview")["acts"]) == ("queued", [])
    ask.click()
    operator.dialog.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#outcome")).to_contain_text("Cancel the run: cancelled.")
    expect(page.locator(".run-state")).to_contain_text("cancelled")
    expect(page.get_by_role("status")).to_contain_text("cancelled")
    expect(operator.table("Acts").locator("tbody tr")).to_have_count(1)
    ((act, _, actor, outcome),) = operator.lines("Acts")
    assert (act, actor, outcome) == ("cancel", "operator (console)", "cancelled")
    assert [site.ask(f"runs/{each}")["status"] for each in (run_id, other)] == ["cancelled", "queued"]


def test_a_run_is_followed_to_its_end_and_what_was_written_is_shown_only_when_it_is_asked_for(
    operator: Operator, site: ConsoleSite, tmp_path: Path, shots: Path | None
) -> None:
    site.start_worker()
    gate = tmp_path / "gate"
    run_id = site.accept(Script(deltas=40, gate=str(gate), holds=[20]))
    page = operator.open(f"/runs/{run_id}")
    entries = operator.table("Entries of the journal")
    deltas = entries.get_by_role("row", name="text_delta")
    expect(entries.get_by_text("1-22")).to_be_visible()
    expect(page.locator(".run-state")).to_contain_text("is executed")
    expect(page.get_by_text("takes runs")).to_be_visible()
    expect(page.get_by_text("held by a worker")).to_be_visible()
    expect(page.get_by_text("No new entry for")).to_be_visible()
    operator.shot(shots, "running")
    open_gate(gate, 20)
    expect(page.locator(".run-state")).to_contain_text("completed")
    expect(page.get_by_role("status")).to_have_text("The run is completed.")
    lines = operator.lines("Entries of the journal")
    whats = [line[1] for line in lines]
    assert whats[0].startswith("thread.created")
    assert "Attempt 1 begins" in whats
    assert whats[-1] == "End: completed"
    places = [line[0] for line in lines]
    held = places.index("after 1-22")
    assert re.fullmatch(r"[0-9.]+ s without an entry|[0-9]+m [0-9]+s without an entry", whats[held]), whats
    assert [places[held - 1][-4:], places[held + 1][:4]] == ["1-22", "1-23"]
    shown = [line for line in lines if "text_delta" in line[1]]
    assert sum(int(line[5]) for line in shown) == 40
    assert all(
        re.fullmatch(r"[0-9:]+", line[2]) and re.fullmatch(r"[0-9.]+ k?B", line[6]) for line in shown
    ), shown
    assert "Script" not in page.content()
    assert '"deltas"' not in page.locator("main").inner_text()
    asked = len(operator.asked)
    page.get_by_role("button", name="Show what was written").click()
    expect(page.locator("section", has_text="Content").last).to_contain_text('\\"deltas\\": 40')
    deltas.last.locator("summary").click()
    expect(deltas.last.locator("pre")).to_contain_text('"delta":"1.39')
    assert all("content=1" in url for url in operator.asked[asked:])
    operator.shot(shots, "completed")


def test_a_worker_is_drained_after_a_question(
    operator: Operator, site: ConsoleSite, tmp_path: Path, shots: Path | None
) -> None:
    worker = site.start_worker(DRAIN_SECONDS="60")
    gate = tmp_path / "gate"
    run_id = site.accept(Script(deltas=3, gate=str(gate), holds=[1]))
    wait_until("the worker says that it executes it", lambda: _used(site) == [1])
    page = operator.open("/workers")
    drain = page.get_by_role("button", name="Drain worker")
    drain.click()
    expect(operator.dialog).to_contain_text(
        "No other worker takes runs: until it is back nothing is executed."
    )
    expect(operator.dialog).to_contain_text("1 run")
    operator.shot(shots, "drain")
    operator.dialog.get_by_role("button", name="Leave it as it is").click()
    assert not site.ask("workers")["workers"][0]["draining"]
    drain.click()
    operator.dialog.get_by_role("button", name="Drain the worker").click()
    expect(page.locator("#outcome")).to_contain_text("Drain the worker: draining.")
    expect(operator.table("Workers")).to_contain_text("draining")
    expect(drain).to_have_count(0)
    open_gate(gate, 1)
    expect(page.get_by_text("No worker is there.")).to_be_visible()
    wait_until("the worker has ended", lambda: worker.popen.poll() is not None)
    assert site.ask(f"runs/{run_id}")["status"] == "completed"
    page.get_by_role("link", name="Overview").click()
    assert [(line[0], line[4]) for line in _once(operator, "Acts")] == [("drain", "draining")]


def _used(site: ConsoleSite) -> list[int]:
    return [worker["used"] for worker in site.ask("workers")["workers"]]


def _once(operator: Operator, table: str) -> list[list[str]]:
    expect(operator.table(table)).to_be_visible()
    return operator.lines(table)


def test_a_run_is_taken_from_its_worker_retried_and_refused_in_words(
    operator: Operator, site: ConsoleSite, tmp_path: Path
) -> None:
    site.start_worker()
    gate = tmp_path / "gate"
    run_id = site.accept(Script(deltas=3, gate=str(gate), holds=[1]))
    site.wait_for_status(run_id, "running")
    page = operator.open(f"/runs/{run_id}")
    expect(page.get_by_role("button", name="Requeue …")).to_have_count(0)
    page.get_by_role("button", name="Take from its worker …").click()
    expect(operator.dialog).to_contain_text("The attempt that runs now is lost, and counts as one.")
    open_gate(gate, 1)
    site.wait_for_status(run_id, "completed")
    operator.dialog.get_by_role("button", name="Take it away").click()
    expect(operator.dialog.get_by_role("alert")).to_contain_text(
        "The run has ended: completed. (409 act_refused)"
    )
    expect(operator.dialog.get_by_role("button")).to_have_text(["Close"])
    page.keyboard.press("Enter")
    expect(operator.dialog).to_be_hidden()
    page.get_by_role("button", name="Retry …").click()
    operator.dialog.get_by_role("button", name="Retry by a new run").click()
    page.locator("#outcome").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).not_to_have_text(f"Run {run_id}")
    expect(page.get_by_text("threads.retry_after_item")).to_be_visible()
    assert site.ask("overview")["acts"][0]["act"] == "retry"


def test_an_act_whose_answer_is_lost_is_not_said_to_be_done_or_not(
    operator: Operator, site: ConsoleSite
) -> None:
    run_id = site.accept(Script())
    page = operator.open(f"/runs/{run_id}")

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/cancel", lose)
    page.get_by_role("button", name="Cancel …").click()
    operator.dialog.get_by_role("button", name="Cancel the run").click()
    said = "Cancel the run: it is not known whether it was done. The API cannot be reached."
    expect(operator.dialog.get_by_role("alert")).to_have_text(said)
    expect(operator.dialog.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".run-state")).to_contain_text("cancelled")
    expect(operator.table("Acts")).to_contain_text("cancelled")


def tab_to(page: Page, name: str, *, back: bool = False) -> None:
    """Presses Tab until what is focused has this name, and shows that it is."""
    seen = []
    for _ in range(60):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        focused = page.evaluate(
            """() => {
                const at = document.activeElement;
                const name = at.ariaLabel ?? at.labels?.[0]?.innerText ?? at.innerText;
                return [name.trim(), getComputedStyle(at).outlineStyle, parseFloat(getComputedStyle(at).outlineWidth)];
            }"""
        )
        seen.append(focused[0])
        if focused[0] == name:
            assert focused[1] != "none", name
            assert focused[2] >= 2, name
            return
    raise AssertionError(f"Tab never came to {name!r}: {seen}")


def test_everything_is_done_by_keyboard_alone(operator: Operator, site: ConsoleSite) -> None:
    run_id = site.accept(Script())
    site.accept(Script(), "bob")
    page, keys = operator.open(), operator.page.keyboard
    expect(operator.figure("Due")).to_have_text("2")
    tab_to(page, "Skip to the content")
    keys.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    assert page.url.endswith("/ops#/")
    tab_to(page, "Runs", back=True)
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Runs")).to_be_focused()
    tab_to(page, "queued")
    keys.press("Space")
    tab_to(page, "User")
    keys.type("alice")
    keys.press("Enter")
    expect(operator.table("Runs").locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("1 run.")
    tab_to(page, run_id)
    keys.press("Enter")
    tab_to(page, "Cancel …")
    keys.press("Enter")
    for _ in range(4):
        keys.press("Tab")
        within = (
            "() => document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        )
        assert page.evaluate(within)
    operator.dialog.get_by_role("button", name="Leave it as it is").focus()
    tab_to(page, "Cancel the run")
    keys.press("Enter")
    expect(page.locator(".run-state")).to_contain_text("cancelled")
    expect(page.get_by_role("main")).to_be_focused()
    page.go_back()
    expect(operator.table("Runs")).to_have_count(0)
    expect(page.get_by_role("main").get_by_text("No run matches.")).to_be_visible()
    expect(page.get_by_label("User")).to_have_value("alice")
    expect(page.get_by_label("queued")).to_be_checked()


def test_focus_an_open_detail_and_the_page_stay_where_they_are_while_it_is_asked_again(
    operator: Operator, site: ConsoleSite
) -> None:
    """And what has not changed is not announced again."""
    site.accept(Script(), "alice")
    page = operator.open()
    link = operator.table("Callers with the most runs").get_by_role("link")
    expect(page.get_by_role("status")).to_contain_text("Runs wait for a worker.")
    link.focus()
    page.evaluate("document.querySelector('#live').textContent = ''")
    site.accept(Script(), "bob")
    expect(operator.figure("Due")).to_have_text("2")
    expect(link.first).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("")
    site.start_worker()
    expect(operator.figure("Workers that take runs")).to_have_text("1 of 1")
    expect(page.get_by_role("status")).to_have_text("Nothing stands out.")


@pytest.mark.parametrize("look", [{}, {"forced_colors": "active"}], ids=["colours", "forced-colours"])
def test_axe_finds_nothing_in_light_and_dark(
    operators: Callable[..., Operator],
    site: ConsoleSite,
    look: dict[str, Any],
    tmp_path: Path,
    shots: Path | None,
) -> None:
    site.start_worker()
    run_id = site.accept(Script())
    held = site.accept(Script(gate=str(tmp_path), holds=[1]))
    site.wait_for_status(run_id, "completed")
    site.execute("UPDATE runs SET status = 'failed', error = 'timeout' WHERE id = %s", run_id)
    operator = operators(**look)
    page = operator.open()
    expect(operator.table("Ended within the hour")).to_be_visible()
    assert_accessible(page)
    operator.shot(shots, f"overview-{len(look)}")
    page = operator.open("/runs?status=failed")
    expect(operator.table("Runs")).to_be_visible()
    assert_accessible(page)
    operator.shot(shots, f"runs-{len(look)}")
    for each in (run_id, held):
        page = operator.open(f"/runs/{each}")
        page.get_by_role("button", name="Show what was written").click()
        expect(page.get_by_text("anchor")).to_be_visible()
        page.locator("summary").first.click()
        assert_accessible(page)
    operator.shot(shots, f"run-{len(look)}")
    page.get_by_role("button", name="Cancel …").click()
    assert_accessible(page)
    page = operator.open("/workers")
    expect(operator.table("Workers")).to_be_visible()
    assert_accessible(page)
    stranger = operators(site.start_deployed_api(), **look)
    page = stranger.open()
    expect(page.get_by_label("Token of an operator")).to_be_focused()
    assert_accessible(page)
    stranger.shot(shots, f"sign-in-{len(look)}")


@pytest.mark.parametrize(
    "options",
    [
        {"viewport": NARROW},
        {"viewport": NARROW, "color_scheme": "dark"},
        {"viewport": {"width": 320, "height": 225}},
        {"viewport": {"width": 900, "height": 700}},
    ],
    ids=["narrow", "narrow-dark", "four-times-as-large", "tablet"],
)
def test_no_screen_is_wider_than_its_window(
    operators: Callable[..., Operator],
    site: ConsoleSite,
    options: dict[str, Any],
    request: pytest.FixtureRequest,
    shots: Path | None,
) -> None:
    """Also with ids and names that are long and without a space. Nothing moves by itself."""
    long = "x" * 200
    run_id = site.accept(Script())
    site.execute(
        "UPDATE runs SET tenant = %s, owner = %s, error = %s WHERE id = %s", long, long, long[:60], run_id
    )
    site.start_worker()
    site.wait_for_status(site.accept(Script()), "completed")
    operator = operators(**options)
    for name, fragment, ready in (
        ("overview", "/", "Last acts"),
        ("runs", "/runs", "add_user_message|create"),
        ("run", f"/runs/{run_id}", "Timeline"),
        ("workers", "/workers", "takes runs"),
        ("absent", f"/runs/{long}", "There is no run"),
    ):
        page = operator.open(fragment)
        expect(page.get_by_text(re.compile(ready)).first).to_be_visible()
        width = options["viewport"]["width"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.evaluate("document.getAnimations().length") == 0
        operator.shot(shots, f"{name}-{request.node.callspec.id}")
    page = operator.open(f"/runs/{run_id}")
    page.get_by_role("group", name="Acts on this run").get_by_role("button").first.click()
    expect(operator.dialog).to_contain_text(long)
    operator.dialog.get_by_role("button", name="Leave it as it is").click()


PWNED = '<img src=x onerror="window.pwned = 1"><script>window.pwned = 1</script>'
HOSTILE_ID = "run_?#%41&<b>\"'"


def test_hostile_ids_and_names_stay_text(operator: Operator, site: ConsoleSite, redis_url: str) -> None:
    run_id = site.accept(Script())
    values = (HOSTILE_ID, PWNED, f"t{PWNED}", f"e{PWNED}", f"thr{PWNED}", run_id)
    site.execute(
        "UPDATE runs SET id = %s, owner = %s, tenant = %s, status = 'failed', error = %s, thread_id = %s,"
        " ended_at = now() WHERE id = %s",
        *values,
    )
    site.execute(
        "INSERT INTO operator_acts (actor, act, target, outcome) VALUES (%s, %s, %s, %s)", *[PWNED] * 4
    )
    page = operator.open()
    expect(page.get_by_label("What stands out")).to_contain_text(f"e{PWNED}")
    expect(operator.table("Acts")).to_contain_text(PWNED)
    page.get_by_label("What stands out").get_by_role("link", name="Show them").last.click()
    expect(operator.table("Runs")).to_contain_text(f"thr{PWNED}")
    page.get_by_role("link", name=PWNED).first.click()
    expect(page.get_by_label("User")).to_have_value(PWNED)
    expect(operator.table("Runs").locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name=HOSTILE_ID).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Run {HOSTILE_ID}")
    expect(page.locator("dl").first).to_contain_text(f"t{PWNED}")
    page.get_by_role("button", name="Retry …").click()
    expect(operator.dialog).to_contain_text(PWNED)
    assert page.evaluate("window.pwned") is None
    assert page.locator("main img, main script").count() == 0


def test_who_may_not_see_it_is_told_why_and_asked_for_another_token(
    operators: Callable[..., Operator], site: ConsoleSite, shots: Path | None
) -> None:
    """The token is in no address, and in no tab but the one in which it was given."""
    run_id = site.accept(Script())
    operator = operators(site.start_deployed_api())
    page = operator.open(f"/runs/{run_id}")
    expect(page.get_by_text("The console does not know who you are (401 ")).to_be_visible()
    operator.give("no token at all")
    expect(page.get_by_role("alert")).to_contain_text("That is no token")
    operator.give("eyJhbGciOiJub25lIn0.e30.")
    expect(page.get_by_text("The token was refused (401 ")).to_be_visible()
    operator.give(site.token(is_operator=False))
    expect(page.get_by_text("You are known, but no operator (403 forbidden)")).to_be_visible()
    expect(page.get_by_role("navigation", name="Console")).to_be_hidden()
    operator.shot(shots, "refused")
    token = site.token(sees_content=False)
    operator.give(f"Bearer {token}")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Run {run_id}")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.get_by_text("What was written is shown to callers whose token has the claim")).to_be_visible()
    expect(page.get_by_role("button", name="Show what was written")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Run {run_id}")
    assert not [url for url in operator.asked if token in url]
    assert page.evaluate("[Object.values(localStorage), document.cookie]") == [[], ""]
    tab = operator.new_tab()
    tab.goto("/ops")
    expect(tab.get_by_label("Token of an operator")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token of an operator")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_cookie_of_the_site_signs_in_to_look_and_to_act(
    operators: Callable[..., Operator], site: ConsoleSite
) -> None:
    run_id, address = site.accept(Script()), site.start_deployed_api(token_cookie="session")
    operator = operators(address)
    operator.context.add_cookies([{"name": "session", "value": site.token(), "url": address}])
    page = operator.open(f"/runs/{run_id}")
    page.get_by_role("button", name="Cancel …").click()
    operator.dialog.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#outcome")).to_contain_text("Cancel the run: cancelled.")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    assert page.evaluate("sessionStorage.length") == 0
    assert site.ask("overview")["acts"][0]["actor"] == "ann (console)"


def test_a_user_of_the_chat_whom_a_cookie_knows_is_signed_in_as_an_operator_by_local_mode(
    operators: Callable[..., Operator], site: ConsoleSite
) -> None:
    key_file = site.settings.local_issuer_key_file
    address = site.start_deployed_api(token_cookie="session", local_issuer_key_file=key_file)
    operator = operators(address)
    user = site.token("alice", is_operator=False)
    operator.context.add_cookies([{"name": "session", "value": user, "url": address}])
    page = operator.open()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.locator("#who")).to_have_text("operator")


def test_whom_the_site_refuses_may_sign_in_as_somebody_else(
    operators: Callable[..., Operator], site: ConsoleSite
) -> None:
    """But where the request is another origin's, no token helps."""
    operator = operators(site.start_deployed_api())
    page = operator.page

    def refuse(code: str) -> None:
        refusal = {"error": {"code": code, "message": "Staff alone."}}
        page.route("**/ops/api/caller", lambda route: route.fulfill(status=403, json=refusal))

    refuse("cross_site_request")
    operator.open()
    expect(page.get_by_role("alert")).to_contain_text("Staff alone. (403 cross_site_request)")
    expect(page.get_by_label("Token of an operator")).to_have_count(0)
    page.unroute("**/ops/api/caller")
    refuse("server_refused")
    operator.open()
    expect(page.get_by_text("You are refused (403 server_refused): Staff alone.")).to_be_visible()
    page.unroute("**/ops/api/caller")
    operator.give(site.token())
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def test_a_wait_for_a_client_tool_call_is_seen_and_ended(operator: Operator, site: ConsoleSite) -> None:
    run_id = site.accept(Script())
    site.execute("UPDATE runs SET status = 'completed', attempt = 1, started_at = now(), ended_at = now()")
    site.execute(
        """INSERT INTO awaited_calls (tenant, owner, thread_id, item_id, run_id, until_at)
        SELECT tenant, owner, thread_id, 'ctc_1', id, now() + interval '1 hour' FROM runs"""
    )
    page = operator.open(f"/runs/{run_id}")
    expect(page.locator(".run-state")).to_contain_text("its thread awaits the output of a client tool call")
    expect(page.get_by_text("ctc_1", exact=True)).to_be_visible()
    page.get_by_role("button", name="End the wait …").click()
    expect(operator.dialog).to_contain_text("ctc_1")
    operator.dialog.get_by_role("button", name="End the wait").click()
    expect(page.locator("#outcome")).to_contain_text(
        "End the wait: wait ended: a worker gives its client tool"
    )
    [(is_over,)] = site.found("SELECT until_at <= now() FROM awaited_calls WHERE run_id = %s", run_id)
    assert is_over


def test_a_token_that_ends_is_asked_for_again_and_the_place_is_kept(
    operators: Callable[..., Operator], site: ConsoleSite
) -> None:
    run_id = site.accept(Script())
    operator = operators(site.start_deployed_api())
    page = operator.open(f"/runs/{run_id}")
    operator.give(site.token())
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Run {run_id}")
    refusal = {"error": {"code": "unauthenticated", "message": "The token has expired."}}
    page.route("**/ops/api/runs/**", lambda route: route.fulfill(status=401, json=refusal))
    expect(page.get_by_text("The token was refused (401 unauthenticated)")).to_be_visible()
    page.unroute("**/ops/api/runs/**")
    operator.give(site.token())
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Run {run_id}")


def test_what_is_not_there_and_what_means_nothing_is_said(operator: Operator, site: ConsoleSite) -> None:
    page = operator.open("/runs/run_gone")
    expect(page.get_by_role("alert")).to_have_text("There is no run run_gone.")
    page = operator.open("/runs?since=yesterday&status=lost")
    expect(page.get_by_role("alert")).to_contain_text("(400 invalid_filter)")
    expect(page.get_by_label("Accepted within")).to_have_value("yesterday")
    page = operator.open("/elsewhere")
    expect(page.get_by_text("The console has no such page.")).to_be_visible()
    page = operator.open("/runs/%E0%A4%A")
    expect(page.get_by_role("alert")).to_have_text("There is no run %E0%A4%A.")
    asked = len(operator.asked)
    page = operator.open("/runs?user=nobody")
    expect(page.get_by_role("main").get_by_text("No run matches.")).to_be_visible()
    assert [url for url in operator.asked[asked:] if url.endswith("/ops/api/runs?user=nobody")]


def test_old_figures_are_marked_while_the_api_is_away_and_new_ones_follow(
    operators: Callable[..., Operator], site: ConsoleSite, shots: Path | None
) -> None:
    """It asks less and less often, says when it asks next, and asks at once when it is told to."""
    operator = operators(is_hurried=False)
    site.accept(Script(), "alice")
    page = operator.open()
    expect(operator.figure("Due")).to_have_text("1")
    site.api.kill()
    away = page.locator("#away")
    expect(away).to_contain_text(
        re.compile(r"cannot be reached. What is shown is from [0-9:]+, [0-9]+ s old. The next try")
    )
    expect(page.get_by_role("status")).to_contain_text("The API cannot be reached. What is shown grows old.")
    expect(page.locator(".as-of")).to_contain_text("Old figures: ")
    expect(operator.figure("Due")).to_have_text("1")
    asked = len(operator.asked)
    expect(away).to_contain_text(re.compile(r"next try is in (1[0-9]|[2-9][0-9]) s"))
    assert len(operator.asked) - asked < 10
    operator.shot(shots, "away")
    site.start()
    site.accept(Script(), "bob")
    page.get_by_role("button", name="Try now").click()
    expect(operator.figure("Due")).to_have_text("2")
    expect(away).to_be_hidden()
    expect(page.locator("main")).not_to_have_class("stale")
    expect(page.get_by_role("status")).to_contain_text("The API answers again.")


@contextmanager
def behind_a_link(settings: Settings, name: str) -> Iterator[tuple[Settings, CuttingProxy]]:
    """The settings with the service of this setting behind a link that can be cut."""
    url = urlsplit(getattr(settings, name))
    with CuttingProxy(urlunsplit(url)) as link:
        netloc = f"{url.netloc.rpartition(':')[0]}:{urlsplit(link.address).port}"
        yield settings.model_copy(update={name: urlunsplit(url._replace(netloc=netloc))}), link


def test_while_redis_is_away_it_is_said_and_the_rows_are_shown(
    browser: Browser, settings: Settings, tmp_path: Path, shots: Path | None
) -> None:
    with behind_a_link(settings, "redis_url") as (linked, link), console_site(linked, tmp_path) as site:
        run_id = site.accept(Script())
        operator = Operator(browser, site.address)
        page = operator.open()
        expect(operator.figure("Due")).to_have_text("1")
        link.go_down()
        expect(page.get_by_label("What stands out")).to_contain_text("Redis is away: queue_unavailable: ")
        expect(page.get_by_text("Not known: Redis is away.")).to_be_visible()
        expect(page.locator("#away")).to_be_hidden()
        operator.shot(shots, "without-redis")
        operator.open(f"/runs/{run_id}")
        expect(page.get_by_text("Its job, its worker and its journal are not known")).to_be_visible()
        expect(page.get_by_text("(503 queue_unavailable)")).to_be_visible()
        expect(page.locator("dl").first).to_contain_text("threads.create")
        link.come_back()
        expect(page.get_by_text("due, in the fair order")).to_be_visible()
        expect(operator.table("Entries of the journal")).to_be_visible()
        operator.context.close()
        assert operator.errors == []


def test_while_postgresql_is_away_it_is_said_and_a_list_follows_when_it_is_back(
    browser: Browser, settings: Settings, tmp_path: Path
) -> None:
    with behind_a_link(settings, "database_url") as (linked, link), console_site(linked, tmp_path) as site:
        run_id = site.accept(Script())
        operator = Operator(browser, site.address)
        page = operator.open()
        expect(operator.figure("Due")).to_have_text("1")
        link.go_down()
        expect(page.get_by_label("What stands out")).to_contain_text(
            "PostgreSQL is away: database_unavailable: "
        )
        expect(page.locator("#away")).to_be_hidden()
        operator.open("/runs")
        expect(page.locator("#away")).to_contain_text("(503 database_unavailable) Nothing is known yet.")
        link.come_back()
        expect(page.get_by_role("link", name=run_id)).to_be_visible()
        expect(page.locator("#away")).to_be_hidden()
        operator.context.close()
        assert operator.errors == []


DEAF_FETCH = """
const real = window.fetch;
window.fetch = (url, init) => real(url, {...init, signal: undefined});
"""


def test_an_older_answer_never_takes_the_place_of_a_newer_one(operator: Operator, site: ConsoleSite) -> None:
    """An answer that comes after the page has asked again, and after it has gone on to another filter. Requests that
    the page gives up are answered all the same here."""
    site.accept(Script(), "alice")
    site.accept(Script(), "bob")
    page = operator.page
    page.add_init_script(DEAF_FETCH)
    held: dict[str, Route] = {}

    def hold_first(route: Route) -> None:
        url = route.request.url
        if url in held:
            route.continue_()
        else:
            held[url] = route

    def answer_late(name: str) -> None:
        url = next(url for url in held if url.endswith(f"user={name}"))
        with page.expect_response(url):
            held[url].fulfill(json={"runs": [], "next": None, "redis": "ok"})
        page.evaluate("() => new Promise(shown => setTimeout(() => requestAnimationFrame(shown), 100))")

    page.route("**/ops/api/runs?user=*", hold_first)
    with page.expect_request("**/ops/api/runs?user=alice"):
        operator.open("/runs?user=alice")
    page.get_by_label("User").fill("bob")
    with page.expect_request("**/ops/api/runs?user=bob"):
        page.get_by_role("button", name="Search").click()
    page.get_by_role("button", name="Search").click()
    rows = operator.table("Runs").locator("tbody tr")
    expect(rows).to_have_count(1)
    answer_late("bob")
    expect(rows).to_have_count(1)
    answer_late("alice")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("bob")


HIDE = """hidden => {
    Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
    document.dispatchEvent(new Event('visibilitychange'));
}"""


def test_a_hidden_page_asks_nothing_and_a_paused_one_neither(
    operators: Callable[..., Operator], site: ConsoleSite
) -> None:
    """Playwright hides no page, so `document.hidden` is said to be true."""
    operator = operators(is_hurried=False)
    operator.page.clock.install()
    page = operator.open()
    expect(operator.figure("Due")).to_have_text("0")

    def assert_quiet() -> None:
        page.wait_for_timeout(200)  # for what was on its way
        asked = len(operator.asked)
        page.clock.run_for(7_000)  # two of its polls
        page.wait_for_timeout(200)
        assert len(operator.asked) == asked

    page.evaluate(HIDE, True)
    assert_quiet()
    site.accept(Script())
    page.evaluate(HIDE, False)
    expect(operator.figure("Due")).to_have_text("1")
    page.get_by_role("button", name="Pause").click()
    assert_quiet()
    expect(page.locator(".as-of")).to_contain_text("Paused. As of ")
    site.accept(Script(), "bob")
    page.get_by_role("button", name="Go on").click()
    expect(operator.figure("Due")).to_have_text("2")


MANY = 100_000
ROWS = """
INSERT INTO runs (id, tenant, owner, thread_id, kind, input, context, status, attempt, error, idempotency_key,
    request_hash, queued_at, started_at, ended_at)
SELECT 'run_' || lpad(n::text, 32, '0'), '', 'owner_' || n %% 1000, 'thr_' || n, 'threads.create', '{}', '{}',
    CASE WHEN n %% 50 = 0 THEN 'failed' ELSE 'completed' END, 1, CASE WHEN n %% 50 = 0 THEN 'timeout' END, 'key_' || n,
    'hash', now() - n * interval '1 minute', now() - n * interval '1 minute', now() - n * interval '59 seconds'
FROM generate_series(1, %s) AS n
"""


LIST_MS = """() =>
    performance.getEntriesByType('resource').filter(({name}) => name.includes('api/runs')).at(-1).duration"""


def test_pages_of_a_hundred_thousand_runs(
    operator: Operator, site: ConsoleSite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each page goes on where the one before ended. The times are printed, and nothing depends on them."""
    site.execute(ROWS, MANY)
    site.execute("ANALYZE runs")
    page = operator.open("/runs")
    seen: list[str] = []
    times: list[int] = []
    for filters in ("", "status=failed", "user=owner_7", "error=timeout&since=7d"):
        before = time.monotonic()
        page = operator.open(f"/runs?{filters}")
        expect(operator.table("Runs").locator("tbody tr")).to_have_count(50)
        opened = time.monotonic() - before
        times.append(round(page.evaluate(LIST_MS)))
        with capsys.disabled():
            print(
                f"\n/runs?{filters}: the list's answer in {times[-1]} ms, the page opened in {opened * 1000:.0f} ms"
            )
    page = operator.open("/runs?status=failed")
    for _ in range(3):
        expect(operator.table("Runs").locator("tbody tr")).to_have_count(50)
        seen += [line[0] for line in operator.lines("Runs")]
        first = seen[-50]
        before = time.monotonic()
        page.get_by_role("link", name="Older runs").click()
        expect(page.get_by_role("link", name=first)).to_have_count(0)
        expect(operator.table("Runs")).to_be_visible()
        with capsys.disabled():
            print(f"the next page in {(time.monotonic() - before) * 1000:.0f} ms")
    assert seen == [f"run_{number:032}" for number in range(50, 50 * 151, 50)]
    page.get_by_role("link", name="Newest runs").click()
    expect(page.get_by_role("link", name=seen[0])).to_be_visible()
    page.get_by_label("Run", exact=True).fill(f"run_{MANY:032}")
    page.get_by_role("button", name="Search").click()
    expect(operator.table("Runs").locator("tbody tr")).to_have_count(1)


def test_the_demo_page_of_local_mode_leads_there(operator: Operator) -> None:
    page = operator.page
    page.goto("/demo")
    page.get_by_label("Your name").fill("alice")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Console").click()
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
