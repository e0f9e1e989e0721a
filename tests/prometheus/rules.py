"""The rules and the dashboards as the tests read them: their expressions, and what these name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.repository.documents import ROOT

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
WORDS = {"and", "or", "unless", "bool", "offset", "NaN", "nan", "Inf", "inf"}
SECONDS_OF = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_RANGE = re.compile(r"\[(\d+[smhd])\]")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Selector:
    """A metric as an expression asks for it."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    """Label, operator, value."""
    text: str


@cache
def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def in_time_lapse(lapse: float) -> dict[str, Any]:
    """The rules with each of their durations divided, so that an alert fires as much sooner."""
    found = yaml.safe_load(RULES.read_text())
    assert isinstance(found, dict)
    for group in found["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule["expr"] = shortened(rule["expr"], lapse)
            if "for" in rule:
                rule["for"] = _shortened(rule["for"], lapse)
    return found


def shortened(expression: str, lapse: float) -> str:
    """The expression with each of its ranges divided."""
    return _RANGE.sub(lambda found: f"[{_shortened(found[1], lapse)}]", expression)


def _shortened(duration: str, lapse: float) -> str:
    return f"{round(int(duration[:-1]) * SECONDS_OF[duration[-1]] * 1000 / lapse)}ms"


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> dict[str, str]:
    """The recording rules: name and expression."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def dashboard(file: Path) -> dict[str, Any]:
    found = json.loads(file.read_text())
    assert isinstance(found, dict)
    return found


def panels(file: Path) -> list[dict[str, Any]]:
    """Without the rows that have only a title."""
    return [panel for panel in dashboard(file)["panels"] if panel["type"] != "row"]


def panel_expressions(file: Path) -> Iterator[tuple[str, str]]:
    """The title of each panel, and an expression of its."""
    for panel in panels(file):
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def selectors(expression: str) -> Iterator[Selector]:
    """All that it names: what is no function, no label of a grouping, no number and no text."""
    ungrouped = _GROUPING.sub(" ", expression)
    texts: list[str] = []

    def kept(found: re.Match[str]) -> str:
        texts.append(found[0])
        return f'"{len(texts) - 1}"'

    numbered = _TEXT.sub(kept, ungrouped)
    numbered = re.sub(r"\[[^\]]*\]", " ", numbered)
    for name, matchers in re.findall(
        r"(?<![\w.\"])([a-zA-Z_:][\w:]*)(?![\w:])(?!\s*\()\s*(\{[^}]*\})?", numbered
    ):
        if name in WORDS:
            continue
        whole = re.sub(r'"(\d+)"', lambda found: texts[int(found[1])], matchers)
        yield Selector(name, tuple(_MATCHER.findall(whole)), name + whole)


def grouping_labels(expression: str) -> set[str]:
    """The labels of its by(...), on(...) and the like."""
    return {
        label.strip()
        for _, labels in _GROUPING.findall(expression)
        for label in labels.split(",")
        if label.strip()
    }
