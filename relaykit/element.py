"""The browser's side, for a site that installs nothing from npm."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ELEMENT_FILE: Final = Path(__file__).parent / "local" / "demo" / "relaykit-chat.js"
"""A module of JavaScript with `<relaykit-chat>` and `createChatKitFetch`, to be served by the site."""

ELEMENT_FOLDER: Final = ELEMENT_FILE.with_suffix("")
"""The files that the module loads when they are needed (languages, icons), to be served in the folder `relaykit-chat/`
beside it. Without them its words are English."""
