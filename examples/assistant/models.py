"""Which model answers: OpenAI's, anything that speaks its Responses API, or the scripted one."""

from __future__ import annotations

from agents import Model, ModelSettings, OpenAIResponsesModel, set_tracing_disabled
from agents.models import get_default_model_settings
from openai import AsyncOpenAI

from relaykit.examples.assistant.scripted_model import ScriptedModel
from relaykit.examples.assistant.settings import AssistantSettings

NO_KEY = "none"
"""For a server of one's own that asks for no key; the client insists on one."""


def build_model(settings: AssistantSettings) -> tuple[Model, ModelSettings]:
    """Opens no connection. Turns tracing off in this process unless traces may leave it."""
    if not settings.exports_traces:
        set_tracing_disabled(True)
    if not settings.has_real_model:
        return ScriptedModel(delta_seconds=settings.delta_ms / 1000), ModelSettings()
    client = AsyncOpenAI(api_key=settings.api_key or NO_KEY, base_url=settings.base_url)
    model = OpenAIResponsesModel(model=settings.model, openai_client=client)
    return model, get_default_model_settings(settings.model)
