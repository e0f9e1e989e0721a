"""Answers of a model that names every item alike: each is shown where it belongs, live and after a reload."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.page.user import User

pytestmark = pytest.mark.browser


def test_messages_of_one_id_are_all_shown_live_and_after_a_reload(user: User) -> None:
    said = []
    for words in (["one", "two"], ["three"], ["four", "five"]):
        user.ask(f"show same {' '.join(words)}")
        said += [f"Said {word} to the end" for word in words]
        expect(user.answers.locator(".answer")).to_have_text(said)
    user.page.reload()
    expect(user.answers.locator(".answer")).to_have_text(said)
    types = [item["type"] for item in user.stored_items()]
    user_message, answer = "user_message", "assistant_message"
    assert types == [user_message, answer, answer, user_message, answer, user_message, answer, answer]
