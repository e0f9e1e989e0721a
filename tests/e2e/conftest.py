"""A headless Chromium for the tests that look at a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Gone with its module: as long as it is there an event loop runs, beside which no other can."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not executable:
        assert not os.environ.get("CI"), "CI runs the browser tests; install chromium"
        pytest.skip("chromium is not installed: the browser tests are skipped")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def shots() -> Path | None:
    """Where to keep screenshots for a person to look at; None unless SCREENSHOTS names a folder."""
    folder = os.environ.get("SCREENSHOTS")
    return Path(folder) if folder else None
