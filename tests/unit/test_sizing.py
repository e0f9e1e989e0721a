"""What docs/deploy.md says of alerts in its table of sizes is what deploy/prometheus/rules.yml has."""

from __future__ import annotations

import re
from typing import NamedTuple

from relaykit.shared.settings import Settings
from tests.prometheus.rules import alerts
from tests.support.repository.documents import ROOT

PAGE = ROOT / "docs" / "deploy.md"
ANY = {"> 0", "== 0"}
"""Comparisons that ask whether there is any: the page says that in words."""
RESOURCES = (
    "worker slots",
    "worker cores",
    "API processes",
    "Redis' memory",
    "PostgreSQL's connections",
    "PostgreSQL's disk",
)
_COMPARISON = re.compile(r"(?:[<>]=?|[!=]=) ?-?[0-9]+(?:\.[0-9]+)?")


class Row(NamedTuple):
    resource: str
    amount: str
    alert: str
    when: str


def rows() -> list[Row]:
    """Of the table of the section."""
    section = PAGE.read_text().split("\n## Sizing\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines[2:]]


def test_each_resource_has_an_amount_and_an_alert() -> None:
    named = [row.resource for row in rows() if row.resource]
    for resource in RESOURCES:
        assert any(name.startswith(resource) for name in named), resource
    assert all(row.amount for row in rows() if row.resource)
    assert all(re.fullmatch(r"`Relaykit\w+`", row.alert) for row in rows())


def test_the_thresholds_are_those_of_the_rules() -> None:
    known = {rule["alert"]: rule for rule in alerts()}
    for row in rows():
        rule = known[row.alert.strip("`")]
        spans = re.findall(r"`([^`]+)`", row.when)
        asked = {found for found in _COMPARISON.findall(rule["expr"]) if found not in ANY}
        if row.when != "the same":
            assert {span for span in spans if _COMPARISON.fullmatch(span)} == asked, row
            assert [span for span in spans if span.startswith("for ")] == [f"for {rule['for']}"], row


def test_the_defaults_in_the_example_are_the_settings() -> None:
    example = PAGE.read_text().split("**For example**")[1].split("\n\n")[0].replace("\n", " ")
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert f"MAX_RUNS={defaults['max_runs']}" in example
    assert f"with up to {defaults['database_pool_max']} connections each" in example
    assert defaults["journal_ended_ttl_seconds"] == 3600
