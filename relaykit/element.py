"""The browser's side, for a site that installs nothing from npm."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ELEMENT_FILE: Final = Path(__file__).parent / "local" / "demo" / "relaykit-chat.js"
"""A module of JavaScript with `<relaykit-chat>` and `createChatKitFetch`, to be served by the site."""

ELEMENT_FILES: Final = {file.name: file for file in sorted(ELEMENT_FILE.parent.glob("relaykit-chat*.js"))}
"""That module and, by their names, the files that it loads from beside it when they are needed (languages, icons).
Where the site does not serve those, its words are English."""
