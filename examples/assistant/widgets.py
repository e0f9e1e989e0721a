"""The checklist: a card with steps, each with a button that sends an action."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from chatkit.actions import ActionConfig
from chatkit.types import WidgetItem
from chatkit.widgets import DynamicWidgetRoot
from pydantic import BaseModel, ConfigDict, Field, ValidationError

SET_STEP: Literal["checklist.set_step"] = "checklist.set_step"
CARD_KEY = "checklist"
MAX_STEPS = 12
MAX_LABEL_CHARS = 200


class SetStep(BaseModel):
    """What a button sends. It says the state to reach, so that sending it twice does no harm."""

    model_config = ConfigDict(strict=True, extra="ignore")

    index: int = Field(ge=0, lt=MAX_STEPS)
    done: bool


@dataclass(frozen=True, slots=True)
class Step:
    label: str
    done: bool = False


@dataclass(frozen=True, slots=True)
class Checklist:
    """Its state lives in the stored card: what a client sends can only name a step of it."""

    title: str
    steps: tuple[Step, ...]

    @property
    def is_complete(self) -> bool:
        return all(step.done for step in self.steps)

    def with_step(self, change: SetStep) -> Self:
        """Raises IndexError for a step that is not there."""
        step = replace(self.steps[change.index], done=change.done)
        steps = (*self.steps[: change.index], step, *self.steps[change.index + 1 :])
        return replace(self, steps=steps)

    def as_text(self) -> str:
        lines = (f"- [{'x' if step.done else ' '}] {step.label}" for step in self.steps)
        return "\n".join([self.title, *lines])

    def as_widget(self) -> DynamicWidgetRoot:
        done = sum(step.done for step in self.steps)
        return DynamicWidgetRoot.model_validate(
            {
                "type": "Card",
                "key": CARD_KEY,
                "size": "md",
                "children": [
                    {"type": "Title", "key": "title", "value": self.title, "size": "sm"},
                    {"type": "Caption", "key": "count", "value": f"{done} of {len(self.steps)} done"},
                    {"type": "Divider"},
                    *(_row(index, step) for index, step in enumerate(self.steps)),
                ],
            }
        )

    @classmethod
    def from_item(cls, item: WidgetItem | None) -> Self | None:
        """The checklist that `item` shows; None where it shows something else."""
        if item is None:
            return None
        card = item.widget.model_dump(mode="json", exclude_none=True)
        if card.get("key") != CARD_KEY:
            return None
        title, _count, _divider, *rows = card["children"]
        steps = (
            Step(label=row["children"][0]["value"], done=row["children"][0]["lineThrough"]) for row in rows
        )
        return cls(title=title["value"], steps=tuple(steps))


def parse_set_step(payload: object) -> SetStep | None:
    """None where the payload is not what the card's buttons send."""
    try:
        return SetStep.model_validate(payload)
    except ValidationError:
        return None


def _row(index: int, step: Step) -> dict[str, Any]:
    action = ActionConfig(
        type=SET_STEP,
        payload=SetStep(index=index, done=not step.done).model_dump(),
        loadingBehavior="container",
    )
    return {
        "type": "Row",
        "key": f"step-{index}",
        "align": "center",
        "children": [
            {"type": "Text", "value": step.label, "lineThrough": step.done},
            {"type": "Spacer"},
            {
                "type": "Button",
                "label": "Undo" if step.done else "Done",
                "style": "secondary" if step.done else "primary",
                "size": "sm",
                "onClickAction": action.model_dump(),
            },
        ],
    }
