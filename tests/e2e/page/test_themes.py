"""`theme.color`: text can be read in every theme, with what surfaces, greys and accent a site gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.page.test_element import Given, given
from tests.e2e.page.user import SHADOW, User

__all__ = ["given"]
pytestmark = pytest.mark.browser


def greys(hue: int, tint: int, shade: int, accent: str) -> dict[str, Any]:
    return {
        "grayscale": {"hue": hue, "tint": tint, "shade": shade},
        "accent": {"primary": accent, "level": 1},
    }


def surfaces(background: str, foreground: str, accent: str, level: int = 1) -> dict[str, Any]:
    return {
        "surface": {"background": background, "foreground": foreground},
        "accent": {"primary": accent, "level": level},
    }


THEMES: dict[str, tuple[str, dict[str, Any]]] = {
    # those of the samples in github.com/openai/openai-chatkit-advanced-samples
    "metro-map": ("light", {"accent": {"primary": "#0ea5e9", "level": 1}}),
    "metro-map, dark": ("dark", surfaces("#0d1117", "#1d222b", "#0ea5e9")),
    "news-guide": ("light", greys(0, 0, 0, "#ff5f42")),
    "news-guide, dark": ("dark", greys(0, 0, -1, "#ff5f42")),
    "customer-support": ("light", greys(220, 6, -4, "#0f172a")),
    "customer-support, dark": ("dark", greys(220, 6, -1, "#f8fafc")),
    "cat-lounge, dark": ("dark", greys(220, 6, -1, "#f1f5f9")),
    # what nobody should give
    "a dark page in the light scheme": ("light", surfaces("#101418", "#2a2f36", "#0b5fd0", 3)),
    "a light page in the dark scheme": ("dark", surfaces("#fffbe6", "#f4e9b8", "#f2c063", 3)),
    "surfaces that contradict each other": ("light", surfaces("#ffffff", "#000000", "#888888")),
    "a page of mid grey": ("light", surfaces("#808080", "#757575", "#7a7a7a", 2)),
    "colours by name": ("light", surfaces("var(--brand)", "papayawhip", "oklch(0.6 0.2 260)")),
}


@pytest.fixture(scope="module")
def conversation() -> list[str]:
    return ["show input with *emphasis* and [a link](https://example.com)", "show form", "show notice"]


@pytest.mark.parametrize("name", THEMES)
def test_text_can_be_read_in_every_theme(
    name: str, new_user: Callable[..., User], conversation: list[str], shots: Path | None
) -> None:
    scheme, color = THEMES[name]
    user = new_user(viewport={"width": 1280, "height": 2400}).sign_in()
    given = Given(user)
    given.page.evaluate("() => chat.style.setProperty('--brand', 'rgb(250 240 230)')")
    given.options(f"{{theme: {json.dumps({'colorScheme': scheme, 'color': color})}}}")
    for text in conversation:
        user.ask(text)
    [shown, whole] = given.page.locator(".scroller").evaluate("at => [at.clientHeight, at.scrollHeight]")
    assert shown == whole, "axe passes over what is scrolled out of view"
    given.assert_accessible()
    if shots:
        given.page.screenshot(path=shots / f"theme-{name.replace(', ', '-').replace(' ', '-')}.png")


CARET_IS_SEEN = f"""() => {{
  const end = {SHADOW}.querySelector(".entry.open .answer > :last-child [data-end]");
  return end !== null && getComputedStyle(end, "::after").forcedColorAdjust === "none";
}}"""


def test_in_forced_colours_messages_keep_their_shape_and_marks_can_be_seen(
    new_user: Callable[..., User], shots: Path | None
) -> None:
    user = new_user(forced_colors="active").sign_in()
    user.send("Write a long answer")
    page = user.page
    expect(page.locator(".bubble")).to_have_css("border-top-style", "solid")
    expect(page.locator(".thread.current")).to_have_css("outline-style", "solid")
    expect(page.locator(".pulse")).to_be_visible()
    user.wait_for_words(20)
    if shots:
        page.screenshot(path=shots / "forced-colours.png")
    expect(page.locator(".pulse")).to_have_css("forced-color-adjust", "none")
    page.wait_for_function(CARET_IS_SEEN)
    page.get_by_role("button", name="Stop").click()
    user.wait_for_end()


def test_what_is_no_colour_leaves_the_style_sheet_s_and_is_told_once(given: Given) -> None:
    colours = json.dumps({"color": surfaces("#0d1117", "var(--nobody-set-this)", "#0ea5e9")})
    given.options(f"{{theme: {colours}}}")
    given.options(f"{{theme: {colours}, locale: 'de'}}")
    found = given.page.evaluate("() => getComputedStyle(chat).backgroundColor")
    assert found == "rgb(255, 255, 255)"
    errors = given.page.evaluate(
        "() => told.filter(([type]) => type === 'error').map(([, {error}]) => error.message)"
    )
    assert errors == ['theme.color: "var(--nobody-set-this)" is no colour here.']


def test_a_page_that_lets_through_stays_so_and_what_is_raised_is_laid_over_it(given: Given) -> None:
    """The text is that of the colour scheme, because what is behind is the site's."""
    given.options(
        f"{{theme: {json.dumps({'color': surfaces('transparent', 'rgb(0 0 0 / 5%)', '#10b981')})}}}"
    )
    chat = given.page.locator("relaykit-chat")
    expect(chat).to_have_css("background-color", "rgba(0, 0, 0, 0)")
    expect(chat).to_have_css("color", "rgb(26, 30, 35)")
    assert given.page.evaluate("() => getComputedStyle(chat).getPropertyValue('--surface')").startswith(
        "light-dark(rgb(242 242 242)"
    )
