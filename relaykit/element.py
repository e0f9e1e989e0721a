"""The browser's side, for a site that installs nothing from npm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_FOLDER = Path(__file__).parent / "local" / "demo"

ELEMENT_FILE: Final = _FOLDER / "relaykit-chat.js"
"""A module of JavaScript with `<relaykit-chat>` and `createChatKitFetch`, to be served by the site."""

ELEMENT_FILES: Final[Mapping[str, Path]] = {
    file.name: file for file in sorted(_FOLDER.glob("relaykit-chat*.js"))
}
"""The same and what it loads from beside itself when it is needed: to be served by these names.

Without the others its words are English, Lucide's icons are absent, code has no colours, and formulas are shown as they
are written.
"""
