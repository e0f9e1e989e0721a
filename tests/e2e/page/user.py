"""Someone in front of the page, with a browser of their own."""

from __future__ import annotations

import re
from typing import Any, Self

import httpx2
from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Route, expect

ANSWER_MS = 120_000
SHADOW = "document.querySelector('relaykit-chat').shadowRoot"
"""The inside of the chat, in JavaScript; Playwright's locators find it by themselves."""
expect.set_options(timeout=60_000)


class User:
    """`page` is the current tab. `errors` is what the consoles of all tabs said that was an error or a warning."""

    def __init__(self, context: BrowserContext, name: str) -> None:
        self.context, self.name = context, name
        context.set_default_timeout(ANSWER_MS)
        self.errors: list[str] = []
        self.allowed_errors: list[str] = []
        context.on("page", self._watch)
        self.page = context.new_page()

    def _watch(self, page: Page) -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(error.stack or error.message))

    def _hear(self, message: ConsoleMessage) -> None:
        expected = any(re.search(pattern, message.text) for pattern in self.allowed_errors)
        if message.type in ("error", "warning") and not expected:
            self.errors.append(f"{message.text} ({message.location})")

    def sign_in(self, path: str = "/") -> Self:
        self.page.goto(path)
        self.page.get_by_label("Your name").fill(self.name)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.message_box).to_be_focused()
        return self

    def new_tab(self, path: str | None = None) -> Page:
        """A second tab of the same browser, on the open thread unless said otherwise."""
        page = self.context.new_page()
        page.goto(path or self.page.url)
        return page

    @property
    def message_box(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message", exact=True)

    def send(self, text: str) -> None:
        """Sends, and waits until the message is in the thread."""
        before = self.page.locator(".entry.user:not(.pending)").count()
        self.message_box.fill(text)
        self.message_box.press("Enter")
        expect(self.page.locator(".entry.user:not(.pending)")).to_have_count(before + 1)

    def ask(self, text: str) -> None:
        """Sends, and waits for the end of the answer."""
        self.send(text)
        self.wait_for_end()

    def wait_for_end(self, page: Page | None = None) -> None:
        expect((page or self.page).locator("#progress")).to_be_hidden(timeout=ANSWER_MS)

    def wait_for_words(self, count: int, page: Page | None = None) -> None:
        """Waits until an answer that still grows has so many characters."""
        (page or self.page).wait_for_function(
            f"count => {SHADOW}.querySelector('.entry.assistant.open')?.innerText.length > count", arg=count
        )

    @property
    def answers(self) -> Locator:
        return self.page.locator(".entry.assistant[aria-label=Assistant]")

    def copied_answer(self, page: Page | None = None) -> str:
        """The source of the last answer, as the page's own Copy gives it."""
        page = page or self.page
        page.bring_to_front()
        page.get_by_role("button", name="Copy the answer").last.click()
        expect(page.locator(".toast", has_text="Copied").last).to_be_visible()
        text: str = page.evaluate("navigator.clipboard.readText()")
        return text

    @property
    def thread_id(self) -> str:
        match = re.search(r"thread=([^&]+)", self.page.url)
        assert match, f"no thread in {self.page.url}"
        return match[1]

    def stored_items(self) -> list[dict[str, Any]]:
        """The open thread's items as the server has them, oldest first."""
        params = {"thread_id": self.thread_id, "limit": 100, "order": "asc"}
        items: list[dict[str, Any]] = self.api({"type": "items.list", "params": params}).json()["data"]
        return items

    def stored_answer(self) -> str:
        answers = [item for item in self.stored_items() if item["type"] == "assistant_message"]
        return "\n\n".join(part["text"] for part in answers[-1]["content"])

    def api(self, request: dict[str, Any]) -> httpx2.Response:
        """The same user without the page."""
        origin = self.page.evaluate("location.origin")
        with httpx2.Client(base_url=origin, timeout=ANSWER_MS / 1000) as client:
            token = client.post("/dev/token", json={"sub": self.name}).json()["access_token"]
            response = client.post("/chatkit", json=request, headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 200, response.text
        return response

    def shorten_tokens(self, ttl_seconds: int) -> list[int]:
        """From now on a token lives so long. Returns a list that grows with each token that is fetched."""
        fetched: list[int] = []

        def shorten(route: Route) -> None:
            fetched.append(ttl_seconds)
            body = {**route.request.post_data_json, "ttl_seconds": ttl_seconds}
            route.continue_(post_data=body)

        self.context.route("**/dev/token", shorten)
        return fetched
