"""Somebody in front of the site's page, with a browser of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

import httpx2
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.e2e.axe import assert_accessible

WAIT_MS = 120_000
expect.set_options(timeout=60_000)
# What Chromium itself says of requests that failed, whether or not the page minds.
NETWORK = re.compile(r"Failed to load resource|net::ERR_")


class Visitor:
    """`errors` is what the page's console said that was not of the network."""

    def __init__(self, browser: Browser, address: str, name: str, *, ttl_seconds: int = 600) -> None:
        self.name = name
        self.address = address
        self.ttl_seconds = ttl_seconds
        self.errors: list[str] = []
        self.context = browser.new_context(base_url=address)
        self.context.set_default_timeout(WAIT_MS)
        self.page = self._tab()

    def _tab(self) -> Page:
        page = self.context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(error.stack or error.message))
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not NETWORK.search(message.text):
            self.errors.append(message.text)

    def serve_chatkit_script(self, code: str) -> None:
        """What OpenAI's CDN would give, which no test asks."""
        self.context.route(
            "https://cdn.platform.openai.com/**",
            lambda route: route.fulfill(content_type="text/javascript", body=code),
        )

    def visit(self) -> Self:
        self.page.goto(f"/site/index.html?user={self.name}&ttl={self.ttl_seconds}")
        return self.await_ready()

    def await_ready(self, page: Page | None = None) -> Self:
        (page or self.page).wait_for_selector("body[data-ready]")
        return self

    def second_tab(self) -> Page:
        page = self._tab()
        page.goto(self.page.url)
        self.await_ready(page)
        return page

    def send(self, text: str) -> None:
        self.page.get_by_label("Message").fill(text)
        self.page.get_by_role("button", name="Send").click()

    def await_words(self, count: int) -> None:
        self.page.wait_for_function(
            "word => document.querySelector('[data-type=assistant_message]')?.textContent.includes(word)",
            arg=f"wörd{count} ",
            timeout=WAIT_MS,
        )

    def await_end(self, page: Page | None = None) -> None:
        (page or self.page).wait_for_function("!site.isAnswering", timeout=WAIT_MS)

    def text(self, page: Page | None = None) -> str:
        text: str = (page or self.page).evaluate(
            "[...document.querySelectorAll('[data-type=assistant_message]')].at(-1)?.textContent ?? ''"
        )
        return text

    def known(self, what: str, page: Page | None = None) -> Any:
        """A member of the page's `site`."""
        return (page or self.page).evaluate(f"site.{what}")

    def assert_accessible(self) -> None:
        assert_accessible(self.page)

    def assert_fits(self, width: int) -> None:
        self.page.set_viewport_size({"width": width, "height": 740})
        too_wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert too_wide <= 0, f"{self.name}: {too_wide} px too wide for {width}"

    def picture(self, folder: Path | None, name: str) -> None:
        """For a person to look at, where there is a folder for it."""
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            self.page.screenshot(path=folder / f"{name}-{scheme}.png")

    def stored_text(self, at: str) -> str:
        """Of the last answer, as the server has it."""
        params = {"thread_id": self.known("threadId"), "limit": 100, "order": "asc"}
        items = self.ask(at, "/chatkit", {"type": "items.list", "params": params})["data"]
        answers = [item for item in items if item["type"] == "assistant_message"]
        return "".join(part["text"] for part in answers[-1]["content"])

    def active_run(self, at: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.ask(at, f"/threads/{self.known('threadId')}/run", None)
        return found

    def ask(self, at: str, path: str, body: dict[str, Any] | None) -> Any:
        """The same user without the page."""
        with httpx2.Client(base_url=at, timeout=WAIT_MS / 1000) as client:
            token = client.post("/dev/token", json={"sub": self.name}).json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            answer = client.request("POST" if body else "GET", path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None
