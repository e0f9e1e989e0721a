"""What the page of local mode offers in its composer: models, tools, entities and dictation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relaykit.examples.assistant.corpus import Corpus
from relaykit.examples.assistant.models import OfferedModel
from relaykit.examples.assistant.untrusted import one_line

MAX_ENTITIES = 200
MAX_DESCRIPTION_CHARS = 240
TOOLS = (
    {"id": "search_docs", "label": "Search the docs", "icon": "search", "placeholderOverride": "What about?"},
    {
        "id": "show_widget",
        "label": "Show a widget",
        "icon": "sparkle",
        "placeholderOverride": "Form, list or figures?",
    },
    {"id": "ask_user", "label": "Ask me", "icon": "lightbulb"},
)
"""The user may have one of these called; the server takes no other name."""
TOOL_IDS = frozenset(tool["id"] for tool in TOOLS)


def page_options(models: Sequence[OfferedModel], corpus: Corpus) -> dict[str, Any]:
    """JSON. The page searches the entities by their titles, and previews one by its description."""
    return {
        "models": [
            {"id": model.id, "label": model.label, "default": number == 0}
            for number, model in enumerate(models)
        ],
        "tools": [dict(tool) for tool in TOOLS],
        "dictation": True,
        "entities": [
            {
                "id": path,
                "title": title,
                "group": "Docs",
                "icon": "document",
                "interactive": True,
                "data": {"path": path},
                "description": one_line(corpus.sections_of(path)[0].text, MAX_DESCRIPTION_CHARS),
            }
            for path, title in list(corpus.pages.items())[:MAX_ENTITIES]
        ],
    }
