"""A turn that waits for a client tool: what is sent, stopped, reloaded and refused meanwhile, in one tab and in two."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.e2e.page.test_element import Given
from tests.e2e.page.user import User

pytestmark = pytest.mark.browser

AT_ONCE = "{onClientTool: async ({name}) => { told.push(['tool', name]); return {page: 1}; }}"
HELD = """{onClientTool: ({name}) => new Promise((resolve) => {
  told.push(["tool", name]);
  window.finish = resolve;
})}"""
FOCUS = "() => window.dispatchEvent(new Event('focus'))"


@pytest.fixture
def given(user: User) -> Given:
    return Given(user)


class Outputs:
    """The tool outputs that the pages of a user post."""

    def __init__(self, user: User) -> None:
        self.results: list[Any] = []
        user.context.on("request", self._note)

    def _note(self, request: Request) -> None:
        body = request.post_data or ""
        if "threads.add_client_tool_output" in body:
            self.results.append(json.loads(body)["params"]["result"])


def answers_of(page: Page) -> list[str]:
    return page.locator(".entry.assistant[aria-label=Assistant] .answer").all_inner_texts()


def is_answered(given: Given, *answers: str) -> None:
    """These are the answers in the thread, and the turn is over."""
    expect(given.user.answers.locator(".answer")).to_have_text(list(answers))
    given.user.wait_for_end()
    expect(stop(given.page)).to_have_count(0)


def stop(page: Page) -> Any:
    return page.get_by_role("button", name="Stop")


def call_of(user: User) -> dict[str, Any]:
    (call,) = [item for item in user.stored_items() if item["type"] == "client_tool_call"]
    return call


def test_a_message_that_is_sent_before_the_call_waits_for_its_output(given: Given) -> None:
    given.options(AT_ONCE)
    given.user.send("show latetool")
    given.user.send("show notice")
    is_answered(given, "Let me look.", "The page said {'page': 1}", "Noticed.")
    assert given.told("tool") == ["ask_page"]
    assert given.told("error") == []
    assert (len(given.told("response.start")), len(given.told("response.end"))) == (1, 1)


def test_a_message_that_is_sent_while_the_tool_works_waits_for_its_output(given: Given) -> None:
    """From the call to its output the page responds, and offers Stop."""
    given.options(HELD)
    given.user.send("show tool")
    given.await_told("tool")
    expect(stop(given.page)).to_be_visible()
    expect(given.page.locator("#progress")).to_be_visible()
    given.user.send("show notice")
    assert given.told("response.end") == []
    assert answers_of(given.page) == []
    given.page.evaluate("() => finish({page: 2})")
    is_answered(given, "The page said {'page': 2}", "Noticed.")
    assert given.told("error") == []
    assert (len(given.told("response.start")), len(given.told("response.end"))) == (1, 1)


def test_stop_gives_up_a_tool_that_does_not_come_back(given: Given) -> None:
    """In each tab; a message that waits goes on, and what the tool says at last is posted by nobody."""
    outputs = Outputs(given.user)
    given.options(HELD)
    given.user.send("show tool")
    given.await_told("tool")
    second = given.user.new_tab()
    expect(stop(second)).to_be_visible()
    given.user.send("show notice")
    stop(given.page).click()
    is_answered(given, "Noticed.")
    expect(stop(second)).to_have_count(0)
    expect(second.locator(".tool")).to_contain_text("Asked your browser")
    assert call_of(given.user)["output"] == {"error": "The user stopped before the browser answered."}
    given.page.evaluate("() => finish({page: 3})")
    given.user.ask("show notice")
    assert outputs.results == []
    assert given.told("error") == []


def test_a_stop_in_another_tab_ends_the_wait_here(given: Given) -> None:
    outputs = Outputs(given.user)
    given.options(HELD)
    given.user.send("show tool")
    given.await_told("tool")
    second = given.user.new_tab()
    stop(second).click()
    is_answered(given)
    given.await_told("response.end")
    given.page.evaluate("() => finish({page: 4})")
    given.user.ask("show notice")
    assert outputs.results == []


def test_a_tool_that_never_comes_back_answers_with_an_error(given: Given) -> None:
    """Before the server gives the call up, so that the model goes on from it."""

    def shorten(route: Route) -> None:
        response = route.fetch()
        body = response.json() if response.status == 200 else {}
        if "awaits" not in body:
            route.fulfill(response=response)
            return
        body["awaits"]["seconds_left"] = 1
        route.fulfill(response=response, json=body)

    given.page.route("**/threads/*/run", shorten)
    given.options(HELD)
    given.user.send("show tool")
    is_answered(given, "The page said {'error': 'The tool ask_page did not come back within 1 seconds.'}")


def test_a_result_that_is_too_large_is_posted_as_an_error_once(given: Given) -> None:
    outputs = Outputs(given.user)
    given.user.allowed_errors.append(r"status of 413")
    given.options("{onClientTool: async () => ({shot: 'x'.repeat(1_500_000)})}")
    given.user.send("show tool")
    is_answered(
        given,
        "The page said {'error': 'The result of the tool could not be sent: The body is larger than MAX_BODY_BYTES.'}",
    )
    given.page.evaluate(FOCUS)
    given.user.ask("show notice")
    assert [len(json.dumps(result)) > 1_000_000 for result in outputs.results] == [True, False]


def test_an_output_that_is_refused_for_good_is_not_posted_at_each_focus(given: Given) -> None:
    outputs = Outputs(given.user)
    given.user.allowed_errors.append(r"status of 422")

    def refuse(route: Route) -> None:
        if "add_client_tool_output" not in (route.request.post_data or ""):
            route.continue_()
            return
        error = {"code": "invalid_request", "message": "No such thing."}
        route.fulfill(status=422, json={"error": error})

    given.page.route("**/chatkit", refuse)
    given.options(AT_ONCE)
    given.user.send("show tool")
    expect(given.page.locator(".toast")).to_contain_text("No such thing.")
    for _ in range(3):
        given.page.evaluate(FOCUS)
    expect(stop(given.page)).to_be_visible()
    stop(given.page).click()
    given.user.ask("show notice")
    assert len(outputs.results) == 2
    assert given.told("tool") == ["ask_page"]


def test_a_message_of_another_tab_waits_for_the_tool_of_this_one(given: Given) -> None:
    """Both tabs end with the same thread; the tool was run once, though the other page could run it too."""
    given.options(HELD)
    given.user.send("show tool")
    given.await_told("tool")
    second = given.user.new_tab()
    expect(stop(second)).to_be_visible()
    box = second.get_by_role("textbox", name="Message", exact=True)
    box.fill("show notice")
    box.press("Enter")
    expect(second.locator(".entry.user:not(.pending)")).to_have_count(2)
    assert answers_of(second) == []
    given.page.evaluate("() => finish({page: 5})")
    answers = ["The page said {'page': 5}", "Noticed."]
    is_answered(given, *answers)
    expect(second.locator(".entry.assistant[aria-label=Assistant] .answer")).to_have_text(answers)
    expect(stop(second)).to_have_count(0)
    assert given.told("tool") == ["ask_page"]
    assert call_of(given.user)["output"] == {"page": 5}


def test_a_page_that_is_reloaded_while_the_tool_works_runs_it_again(given: Given) -> None:
    given.options(HELD)
    given.user.send("show tool")
    given.await_told("tool")
    given.page.reload()
    expect(stop(given.page)).to_be_visible()
    is_answered(given, "The page said {'error': 'This page has no tool ask_page.'}")  # the page's own tool
