"""axe over a page, in the light and in the dark."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Page

SCRIPT = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"


def assert_accessible(page: Page, within: str = "html") -> None:
    """axe finds nothing within a CSS selector. Without the browser packages nothing is looked at, and CI fails."""
    if not SCRIPT.exists():
        assert not os.environ.get("CI"), "CI has the browser packages; run `make web`"
        return
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.evaluate(SCRIPT.read_text())
        found = page.evaluate("within => axe.run(within).then(({violations}) => violations)", within)
        said = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]
        assert said == [], f"{scheme}: {said}"
    page.emulate_media(color_scheme="light")
