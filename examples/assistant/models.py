"""Which models answer: OpenAI's, anything that speaks its Responses API, or the scripted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents import Model, ModelSettings, OpenAIResponsesModel, set_tracing_disabled
from agents.models import get_default_model_settings
from openai import AsyncOpenAI

from relaykit.examples.assistant.scripted_model import ScriptedModel
from relaykit.examples.assistant.settings import AssistantSettings

NO_KEY = "none"
"""For a server of one's own that asks for no key; the client insists on one."""


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model that the composer may name by its id."""

    id: str
    label: str
    model: Model
    settings: ModelSettings


def build_models(settings: AssistantSettings, client: AsyncOpenAI | None) -> Sequence[OfferedModel]:
    """The default one first. Opens no connection. Turns tracing off in this process unless traces may leave it."""
    if not settings.exports_traces:
        set_tracing_disabled(True)
    if client is None:
        delta_seconds = settings.delta_ms / 1000
        return (
            _scripted("scripted", "Scripted", ScriptedModel(delta_seconds=delta_seconds)),
            _scripted(
                "scripted-brief", "Scripted, brief", ScriptedModel(delta_seconds=delta_seconds, is_brief=True)
            ),
        )
    return tuple(
        OfferedModel(
            name,
            name,
            OpenAIResponsesModel(model=name, openai_client=client),
            get_default_model_settings(name),
        )
        for name in dict.fromkeys((settings.model, *settings.models))
    )


def build_client(settings: AssistantSettings) -> AsyncOpenAI | None:
    """None where no model is configured. Opens no connection."""
    if not settings.has_real_model:
        return None
    return AsyncOpenAI(api_key=settings.api_key or NO_KEY, base_url=settings.base_url)


def chosen(models: Sequence[OfferedModel], model_id: str | None) -> OfferedModel:
    """The model of this id, and the default one where none of them has it: the id is the browser's word."""
    return next((model for model in models if model.id == model_id), models[0])


def _scripted(model_id: str, label: str, model: ScriptedModel) -> OfferedModel:
    return OfferedModel(model_id, label, model, ModelSettings())
