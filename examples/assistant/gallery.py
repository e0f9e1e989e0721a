"""A widget of each kind: a form, a list and figures. Each says in its actions the state to reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from chatkit.widgets import DynamicWidgetRoot

from relaykit.examples.assistant.corpus import Corpus
from relaykit.examples.assistant.untrusted import one_line

Kind = Literal["form", "list", "figures"]
SUBMIT, LEAVE, CHOOSE, DRAW, COPY = (
    "gallery.submit",
    "gallery.leave",
    "gallery.choose",
    "gallery.draw",
    "gallery.copy",
)
KEYS: dict[Kind, str] = {"form": "gallery.form", "list": "gallery.list", "figures": "gallery.figures"}
"""Of the widgets' roots: an action is taken from a widget of its kind alone, whatever it has become since."""
ACTIONS_OF: dict[str, Kind] = {SUBMIT: "form", LEAVE: "form", CHOOSE: "list", DRAW: "figures"}
MAX_LISTED = 12
SHOWN_AT_FIRST = 4
MAX_VALUE_CHARS = 500
FIELDS = {
    "name": "Name",
    "host": "Where it runs",
    "since": "Since",
    "size": "Size",
    "notify": "Tell me about updates",
    "note": "Note",
}
FIGURES = (("Mon", 12, 3), ("Tue", 18, 5), ("Wed", 9, 2), ("Thu", 24, 6))
DRAWN: tuple[Literal["bar"], Literal["line"]] = ("bar", "line")


def gallery_widget(kind: Kind, corpus: Corpus) -> tuple[DynamicWidgetRoot, str]:
    """The widget, and what it says in words, for the model and for copying."""
    match kind:
        case "form":
            return _form()
        case "list":
            return _list(corpus)
        case "figures":
            return figures("bar")


def filled(values: Mapping[str, Any]) -> tuple[DynamicWidgetRoot, str]:
    """What the form becomes once it was sent: known fields alone, cut to length."""
    rows = {
        label: _shown(values[name])
        for name, label in FIELDS.items()
        if isinstance(values.get(name), (str, bool)) and values[name] != ""
    }
    children: list[dict[str, Any]] = [
        {"type": "Title", "value": "Sent", "size": "sm"},
        *(_pair(*row) for row in rows.items()),
    ]
    return _root("form", "Card", children), _words("Sent", rows)


def left() -> tuple[DynamicWidgetRoot, str]:
    text = "The form was closed."
    return _root("form", "Card", [{"type": "Text", "value": text}]), text


def figures(drawn: Literal["bar", "line"]) -> tuple[DynamicWidgetRoot, str]:
    """A chart and a table of the same numbers; a button draws the chart the other way."""
    other = DRAWN[1 - DRAWN.index(drawn)]
    rows = [
        ["Day", "Answers", "Resumed"],
        *([day, str(said), str(resumed)] for day, said, resumed in FIGURES),
    ]
    words = _words(
        "Answers a day (invented numbers)", {row[0]: f"{row[1]}, {row[2]} resumed" for row in rows[1:]}
    )
    draw = {"type": DRAW, "payload": {"as": other}, "loadingBehavior": "container"}
    children: list[dict[str, Any]] = [
        {
            "type": "Row",
            "children": [
                {"type": "Title", "value": "Answers a day", "size": "sm"},
                {"type": "Spacer"},
                {"type": "Badge", "label": "invented numbers", "color": "info"},
            ],
        },
        {
            "type": "Chart",
            "data": [{"day": day, "said": said, "resumed": resumed} for day, said, resumed in FIGURES],
            "series": [
                {"type": drawn, "dataKey": "said", "label": "Answers"},
                {"type": drawn, "dataKey": "resumed", "label": "Resumed"},
            ],
            "xAxis": "day",
        },
        {
            "type": "Table",
            "children": [_table_row(row, is_header=number == 0) for number, row in enumerate(rows)],
        },
        {
            "type": "Row",
            "children": [
                {"type": "Button", "label": f"Draw a {other} chart", "size": "sm", "onClickAction": draw},
                {
                    "type": "Button",
                    "label": "Ask this page",
                    "size": "sm",
                    "style": "secondary",
                    "onClickAction": {"type": COPY, "handler": "client", "payload": {"text": words}},
                },
            ],
        },
    ]
    return _root("figures", "Card", children, size="lg"), words


def _form() -> tuple[DynamicWidgetRoot, str]:
    options = [{"value": value, "label": value} for value in ("One host", "Several hosts", "Kubernetes")]
    sizes = [{"value": value, "label": value} for value in ("Small", "Large")]
    children: list[dict[str, Any]] = [
        {"type": "Title", "value": "Tell us about your site", "size": "sm"},
        {"type": "Label", "value": FIELDS["name"], "fieldName": "name"},
        {"type": "Input", "name": "name", "required": True},
        {"type": "Label", "value": FIELDS["host"], "fieldName": "host"},
        {"type": "Select", "name": "host", "options": options, "placeholder": "Choose"},
        {"type": "Label", "value": FIELDS["since"], "fieldName": "since"},
        {"type": "DatePicker", "name": "since"},
        {"type": "RadioGroup", "name": "size", "ariaLabel": FIELDS["size"], "options": sizes},
        {"type": "Checkbox", "name": "notify", "label": FIELDS["notify"]},
        {"type": "Label", "value": FIELDS["note"], "fieldName": "note"},
        {"type": "Textarea", "name": "note"},
    ]
    root = _root(
        "form",
        "Card",
        children,
        asForm=True,
        confirm={"label": "Send", "action": {"type": SUBMIT}},
        cancel={"label": "Close", "action": {"type": LEAVE, "streaming": False}},
    )
    return root, _words("Tell us about your site", dict.fromkeys(FIELDS.values(), "?"))


def _list(corpus: Corpus) -> tuple[DynamicWidgetRoot, str]:
    pages = list(corpus.pages.items())[:MAX_LISTED]
    if not pages:
        return _root(
            "list", "Basic", [{"type": "Text", "value": "There are no pages."}]
        ), "There are no pages."
    children = [
        {
            "type": "ListViewItem",
            "onClickAction": {"type": CHOOSE, "payload": {"page": path}},
            "children": [
                {"type": "Icon", "name": "document"},
                {"type": "Text", "value": title},
                {"type": "Spacer"},
                {"type": "Caption", "value": path},
            ],
        }
        for path, title in pages
    ]
    return _root("list", "ListView", children, limit=SHOWN_AT_FIRST), _words("Pages", dict(pages))


def _root(kind: Kind, component: str, children: list[dict[str, Any]], **fields: Any) -> DynamicWidgetRoot:
    return DynamicWidgetRoot.model_validate(
        {"type": component, "key": KEYS[kind], "children": children, **fields}
    )


def _pair(label: str, value: str) -> dict[str, Any]:
    return {
        "type": "Row",
        "children": [
            {"type": "Caption", "value": label},
            {"type": "Spacer"},
            {"type": "Text", "value": value},
        ],
    }


def _table_row(cells: list[str], *, is_header: bool) -> dict[str, Any]:
    return {
        "type": "Table.Row",
        "header": is_header,
        "children": [{"type": "Table.Cell", "children": [{"type": "Text", "value": cell}]} for cell in cells],
    }


def _shown(value: str | bool) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else one_line(value, MAX_VALUE_CHARS)


def _words(title: str, rows: Mapping[str, str]) -> str:
    return "\n".join([title, *(f"- {label}: {value}" for label, value in rows.items())])
