"""The caretaker: an agent whose tools look after the cat of its thread."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from agents import Agent, RunContextWrapper, StopAtTools, function_tool
from chatkit.agents import AgentContext
from chatkit.types import ClientEffectEvent, HiddenContextItem
from pydantic import ConfigDict, Field

from app.cat_state import CatState
from app.cat_store import CatStore
from app.memory_store import MemoryStore
from app.widgets import names_widget


class CatContext(AgentContext):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    store: Annotated[MemoryStore, Field(exclude=True)]
    cats: Annotated[CatStore, Field(exclude=True)]
    request_context: dict[str, Any]


async def show(context: CatContext, state: CatState) -> None:
    effect = ClientEffectEvent(name="update_cat_status", data={"state": state.to_payload()})
    await context.stream(effect)


@function_tool
async def get_cat_status(ctx: RunContextWrapper[CatContext]) -> dict[str, Any]:
    """The cat's name, energy and snacks."""
    state = await ctx.context.cats.load(ctx.context.thread.id)
    return state.to_payload()


@function_tool
async def feed_cat(ctx: RunContextWrapper[CatContext]) -> str:
    """Gives the cat a snack."""
    context = ctx.context
    state = await context.cats.mutate(context.thread.id, lambda cat: cat.feed())
    note = HiddenContextItem(
        id=context.generate_id("message"),
        thread_id=context.thread.id,
        created_at=datetime.now(),
        content=f"<FED_CAT>{state.name}</FED_CAT>",
    )
    await context.store.add_thread_item(context.thread.id, note, context.request_context)
    await show(context, state)
    return "The cat has eaten."


@function_tool
async def suggest_cat_names(ctx: RunContextWrapper[CatContext]) -> str:
    """Shows names to choose from."""
    await ctx.context.stream_widget(names_widget(["Miso", "Pixel"]))
    return "Names are shown."


caretaker = Agent[CatContext](
    name="Caretaker",
    model="gpt-4.1-mini",
    instructions="You look after a cat.",
    tools=[get_cat_status, feed_cat, suggest_cat_names],
    tool_use_behavior=StopAtTools(stop_at_tool_names=["suggest_cat_names"]),
)
