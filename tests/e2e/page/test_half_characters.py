"""Half an emoji in the page's title and in the message, as a script cuts it, keeps nobody from sending."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.page.user import User

pytestmark = pytest.mark.browser

TITLE = "document.title = 'a\\u{1F600}'.slice(0, 2)"
TEXT = "box => { box.value = 'cut \\ud83d'; box.dispatchEvent(new InputEvent('input', { bubbles: true })) }"


def test_a_message_from_a_page_whose_title_was_cut_is_sent_well_formed_and_answered(user: User) -> None:
    user.page.evaluate(TITLE)
    user.message_box.evaluate(TEXT)
    with user.page.expect_request(lambda sent: "threads.create" in (sent.post_data or "")) as sending:
        user.message_box.press("Enter")
    expect(user.answers).to_have_count(1)
    user.wait_for_end()
    sent = sending.value.post_data_json
    assert sent["metadata"]["pageContext"]["title"] == "a\ufffd"
    assert "\\ud83d" not in str(sending.value.post_data)
    assert user.stored_items()[0]["content"][0]["text"] == "cut \ufffd"
