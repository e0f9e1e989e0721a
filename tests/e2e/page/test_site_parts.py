"""What a site adds to `<relaykit-chat>`: components of its own, and what stands in the slots."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.page.test_element import Given
from tests.e2e.page.user import User

pytestmark = pytest.mark.browser

REGISTER = """async () => {
  const {registerComponent} = await import("/demo/relaykit-chat.js");
  registerComponent("Map", ({place, legend}, {children, draw, act, locale, isInert}) => {
    const map = document.createElement("figure");
    const button = document.createElement("button");
    button.textContent = `Go to ${place}`;
    button.disabled = isInert;
    button.addEventListener("click", () => act({type: "book", payload: {place}}, button));
    map.lang = locale;
    map.append(button, ...children(), draw(legend));
    return map;
  });
  registerComponent("Broken", () => { throw new RangeError("no map today"); });
  const refused = [];
  for (const type of ["Card", "", "a b"])
    try { registerComponent(type, () => document.createElement("p")) } catch ({name}) { refused.push(name) }
  return refused;
}"""


@pytest.fixture
def given(user: User) -> Given:
    return Given(user)


def test_a_component_of_the_sites_is_drawn_and_acts(given: Given, shots: Path | None) -> None:
    assert given.page.evaluate(REGISTER) == ["TypeError"] * 3
    given.options("{}")
    given.user.ask("show own")
    card = given.page.locator(".w-card")
    expect(card.locator("figure")).to_contain_text("inside")
    expect(card.locator("figure .w-caption")).to_have_text("legend")
    expect(card).to_contain_text("This part cannot be shown.")
    expect(card).to_contain_text("behind")
    if shots:
        given.page.screenshot(path=shots / "parity-own.png")
    card.get_by_role("button", name="Go to Cork").click()
    expect(given.last).to_contain_text("Done: book with {'place': 'Cork'}")


def test_an_unregistered_component_is_shown_by_its_children(given: Given) -> None:
    given.options("{}")
    given.user.ask("show own")
    expect(given.page.locator(".w-card")).to_contain_text("inside")
    expect(given.page.locator(".w-card figure")).to_have_count(0)


def test_the_slots_hold_what_the_site_puts_there(given: Given, shots: Path | None) -> None:
    given.options("{startScreen: {greeting: 'Hello', prompts: [{label: 'A notice', prompt: 'show notice'}]}}")
    expect(given.page.get_by_text("Hello", exact=True)).to_be_visible()
    given.page.evaluate(
        """() => chat.insertAdjacentHTML("beforeend",
          '<b slot="header">beta</b><p slot="start-screen">Ask about rooms</p><small slot="footer">Imprint</small>')"""
    )
    expect(given.page.get_by_text("Hello", exact=True)).to_be_hidden()
    expect(given.page.get_by_text("Ask about rooms")).to_be_visible()
    places = [given.page.get_by_text(text).bounding_box() for text in ("beta", "Ask about rooms", "Imprint")]
    tops = [place["y"] for place in places if place]
    assert len(tops) == 3
    assert tops == sorted(tops)
    if shots:
        given.page.screenshot(path=shots / "parity-slots.png")
    given.user.ask("show notice")
    expect(given.page.get_by_text("Ask about rooms")).to_be_hidden()
    expect(given.page.get_by_text("Imprint")).to_be_visible()
