"""Tests of a site's own ChatKitServer, in memory and without services.

    async with testing.chat(ShopServer) as chat:
        answer = await chat.say("hello")
    assert answer.text == "Hello!"

The names in `__all__` are what a site's tests may import. They keep their meaning between releases; the modules below
are internal.
"""

from __future__ import annotations

from agents.testing import ModelStep, assistant_message, function_call

from relaykit.shared.errors import RelaykitError, ServerLoadError
from relaykit.testing.answer import Answer
from relaykit.testing.chat import Chat, chat
from relaykit.testing.scripted_model import ScriptedModel
from relaykit.testing.virtual_time import virtual_time

__all__ = [
    "Answer",
    "Chat",
    "ModelStep",
    "RelaykitError",
    "ScriptedModel",
    "ServerLoadError",
    "assistant_message",
    "chat",
    "function_call",
    "virtual_time",
]
