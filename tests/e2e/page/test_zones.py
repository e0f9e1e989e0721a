"""When a conversation began, told to people in three zones: each hears the wall time of their own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from playwright.sync_api import expect

from tests.e2e.page.user import User

pytestmark = pytest.mark.browser

ZONES = ("America/Los_Angeles", "UTC", "Asia/Tokyo")
WALL_TIME = "ms => new Date(ms).toLocaleString('en-US', {dateStyle: 'medium', timeStyle: 'short'})"


def test_an_untitled_conversation_is_called_by_the_wall_time_of_its_reader(
    new_user: Callable[..., User],
) -> None:
    writer = new_user("zones", timezone_id=ZONES[0], locale="en-US").sign_in()
    before = writer.page.evaluate("Date.now()")
    writer.ask("Hello")
    params = {"thread_id": writer.thread_id}
    writer.api({"type": "threads.update", "params": {**params, "title": ""}})
    created_at = datetime.fromisoformat(
        writer.api({"type": "threads.get_by_id", "params": params}).json()["created_at"]
    )
    moment = created_at.timestamp() * 1000
    assert before <= moment <= writer.page.evaluate("Date.now()")
    told = []
    for zone in ZONES:
        reader = new_user("zones", timezone_id=zone, locale="en-US").sign_in()
        reader.page.goto(writer.page.url)
        when = reader.page.evaluate(WALL_TIME, moment)
        expect(reader.page.get_by_text(f"Conversation, {when}").first).to_be_visible()
        told.append(when)
    assert len(set(told)) == len(ZONES)
