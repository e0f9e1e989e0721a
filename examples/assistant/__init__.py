"""An assistant such as a site would write: a ChatKitServer and nothing of the product but the context's type."""

from relaykit.examples.assistant.server import AssistantServer

__all__ = ["AssistantServer"]
