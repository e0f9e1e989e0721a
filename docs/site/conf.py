"""The documentation as a site with search: `make docs`. The pages are the repository's own Markdown files."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]

project = "Relaykit"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "README"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/**.md",
    "references/**.md",
    "web/*/README.md",
]
exclude_patterns = ["**/node_modules", ".venv*", ".relaykit", "build", "tests"]
html_theme = "furo"
html_title = "Relaykit"
html_show_copyright = False
html_extra_path = ["extra"]
myst_heading_anchors = 3
nitpicky = True

SECTIONS = {
    "Begin": ["docs/quickstart", "docs/development", "docs/testing-your-server"],
    "Your site": [
        "docs/your-*",
        "docs/migrate",
        "docs/from-agent-builder",
        "docs/importing-threads",
        "references/*",
    ],
    "In the browser": ["docs/browser", "docs/browser-*", "web/*/README"],
    "Run it": [
        "docs/deploy",
        "docs/operations",
        "docs/runbook",
        "docs/operators",
        "docs/console",
        "docs/migrations",
        "docs/security",
        "docs/performance",
    ],
    "How it works": [
        "docs/architecture",
        "docs/protocol",
        "docs/glossary",
        "docs/decisions/README",
        "docs/decisions/0*",
    ],
    "The project": ["CHANGELOG", "CONTRIBUTING", "SECURITY"],
}
"""The order of the pages; one that stands in no section fails the build."""

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?://|#)([^)#\s]+)(#[^)\s]*)?\)")


def setup(app: Sphinx) -> None:
    app.connect("source-read", _adapt)


def _adapt(app: Sphinx, name: str, source: list[str]) -> None:
    """A folder is named and not linked, because it is no page; the first page gets the others below it."""
    page = ROOT / f"{name}.md"
    source[0] = _LINK.sub(lambda match: _linked(page, match), source[0])
    if name == root_doc:
        source[0] += "".join(
            f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {title}\n\n" + "\n".join(pages) + "\n```\n"
            for title, pages in SECTIONS.items()
        )


def _linked(page: Path, match: re.Match[str]) -> str:
    target = (page.parent / match[2]).resolve()
    if not target.is_dir():
        return match[0]
    if target == ROOT / "docs" / "decisions":
        return f"[{match[1]}]({match[2].rstrip('/')}/README.md)"
    return match[1]
