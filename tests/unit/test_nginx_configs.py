"""Every nginx of the tests runs as whoever runs the tests, with its files in a folder of theirs."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
EVENTS = re.compile(r"\bevents \{")
"""The block that each configuration of nginx has to have, and nothing else has."""
PARTS = ("nginx_main(", "nginx_http(")


def test_no_configuration_is_written_without_the_common_parts() -> None:
    written = {path: path.read_text() for path in TESTS.rglob("*.py") if path != Path(__file__)}
    configured = {path: text for path, text in written.items() if EVENTS.search(text)}
    assert configured
    lacking = [str(path) for path, text in configured.items() if not all(part in text for part in PARTS)]
    assert not lacking, "without nginx_main and nginx_http of tests/support/network/nginx.py"
