"""What a browser's main thread does while an answer grows on the page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from playwright.sync_api import Browser, CDPSession, ViewportSize, sync_playwright

from bench.page.site import Site

ARGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
VIEWPORT: ViewportSize = {"width": 1100, "height": 800}
END_MS = 180_000

WATCH = """() => {
  const seen = window.seen = {frames: [], tasks: [], began: performance.now()};
  chat.addEventListener("chatkit.response.end", () => { seen.ended = performance.now() });
  new PerformanceObserver((list) => seen.tasks.push(...list.getEntries().map(({duration}) => duration)))
    .observe({type: "longtask"});
  const frame = (time) => { if (!window.ended) { seen.frames.push(time); requestAnimationFrame(frame); } };
  requestAnimationFrame(frame);
}"""


@dataclass(frozen=True, slots=True)
class Watched:
    """Of one answer, from its message to its end. Clock and CPU in seconds, the rest in milliseconds."""

    wall: float
    cpu: float
    script: float
    layout: float
    frames: list[float]
    """Between one frame and the next."""
    long_tasks: list[float]
    """Those of more than 50 ms."""

    @property
    def frames_per_second(self) -> float:
        return len(self.frames) / sum(self.frames) * 1_000

    @property
    def longest_task(self) -> float:
        """0 where none took 50 ms."""
        return max(self.long_tasks, default=0)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Raises LookupError where there is none."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if executable is None:
        raise LookupError("no Chromium: install it, or name it in CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGS)
        try:
            yield browser
        finally:
            browser.close()


def watched(browser: Browser, site: Site) -> Watched:
    """Asks for the site's answer on a page of its own, and watches the page until it is there."""
    page = browser.new_page(viewport=VIEWPORT)
    try:
        page.set_default_timeout(END_MS)
        page.goto(site.url)
        page.wait_for_function("window.isReady === true")
        box = page.get_by_role("textbox", name="Message", exact=True)
        box.fill("Answer")
        page.evaluate(WATCH)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        before = _metrics(session)
        box.press("Enter")
        page.wait_for_function("window.ended === true", polling=500)
        after = _metrics(session)
        seen = page.evaluate("() => window.seen")
    finally:
        page.close()
    spent = {name: after[name] - before[name] for name in before}
    times = seen["frames"]
    return Watched(
        wall=(seen["ended"] - seen["began"]) / 1_000,
        cpu=spent["TaskDuration"],
        script=spent["ScriptDuration"],
        layout=spent["LayoutDuration"] + spent["RecalcStyleDuration"],
        frames=[later - earlier for earlier, later in pairwise(times)],
        long_tasks=seen["tasks"],
    )


def _metrics(session: CDPSession) -> dict[str, float]:
    found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return {
        name: found[name]
        for name in ("TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
    }
