"""The widget in which the cat's name is chosen."""

from __future__ import annotations

from chatkit.actions import ActionConfig
from chatkit.widgets import Button, Card

SELECT_NAME = "cats.select_name"


def names_widget(names: list[str], chosen: str | None = None) -> Card:
    return Card(
        children=[
            Button(
                label=name,
                disabled=chosen is not None,
                onClickAction=ActionConfig(type=SELECT_NAME, payload={"name": name, "names": names}),
            )
            for name in names
        ]
    )
