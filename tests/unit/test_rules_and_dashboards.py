"""The rules and dashboards of deploy/ ask only for what the code counts, and each alert leads to its runbook."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from relaykit.api import metrics as of_api
from relaykit.api.http import errors as counted_errors
from relaykit.shared import metrics as of_both
from relaykit.worker import metrics as of_worker
from tests.prometheus.incidents import INCIDENTS
from tests.prometheus.rules import (
    DASHBOARDS,
    Selector,
    alerts,
    dashboard,
    grouping_labels,
    panel_expressions,
    panels,
    recorded,
    rules,
    selectors,
)
from tests.support.repository.documents import ROOT, page_name

TARGET_LABELS = {"job", "instance", "namespace"}
"""That Prometheus gives each series; `namespace` where its targets have one."""
OF_PROMETHEUS = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity"}}
WHOLE_SETS = {
    "relaykit_requests_refused_total",
    "relaykit_attempts_total",
    "relaykit_run_seconds_count",
    "relaykit_streams_closed_total",
    "relaykit_quiet_runs_total",
    "relaykit_workers",
    "relaykit_slots",
}
"""Metrics all of whose labels' values are there from the start."""
GRID_COLUMNS = 24


@cache
def labels_of() -> dict[str, set[str]]:
    """Each series of a process, with the labels that the code gives it."""
    found: dict[str, set[str]] = {name: set(labels) for name, labels in OF_PROMETHEUS.items()}
    for module in (of_api, of_both, of_worker):
        for metric in vars(module).values():
            if not isinstance(metric, MetricWrapperBase):
                continue
            [described] = metric.describe()
            names = set(metric._labelnames)
            match described.type:
                case "counter":
                    found[f"{described.name}_total"] = names
                case "histogram":
                    found[f"{described.name}_bucket"] = names | {"le"}
                    found |= {f"{described.name}_{part}": names for part in ("count", "sum")}
                case _:
                    found[described.name] = names
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return found | {sample.name: set() for metric in registry.collect() for sample in metric.samples}


@cache
def values_of(name: str, label: str) -> set[str]:
    of_api.note_queue(None)
    assert counted_errors.STATUS
    return {
        sample.labels[label]
        for module in (of_api, of_both, of_worker)
        for metric in vars(module).values()
        if isinstance(metric, MetricWrapperBase)
        for family in metric.collect()
        for sample in family.samples
        if sample.name == name
    }


def unknown(selector: Selector) -> list[str]:
    """What of it the code, or a recording rule, does not have."""
    if selector.name in recorded():
        known = grouping_labels(recorded()[selector.name])
    elif selector.name in labels_of():
        known = labels_of()[selector.name] | TARGET_LABELS
    else:
        return [f"no metric {selector.name}"]
    wrong = [
        f"{selector.name} has no label {label}" for label, _, _ in selector.matchers if label not in known
    ]
    for label, _, value in selector.matchers:
        if selector.name in WHOLE_SETS and label in labels_of()[selector.name]:
            there = values_of(selector.name, label)
            wrong += [
                f"{selector.name} has no {label} {each}" for each in value.split("|") if each not in there
            ]
        if label == "le":
            there = values_of(selector.name, "le")
            wrong += [] if value in there else [f"{selector.name} has no bucket {value}"]
    return wrong


def mistakes(expression: str) -> list[str]:
    asked = list(selectors(expression))
    assert asked, f"nothing is asked: {expression}"
    known = set(TARGET_LABELS)
    for selector in asked:
        known |= labels_of().get(selector.name, set())
        known |= grouping_labels(recorded().get(selector.name, ""))
    wrong = [each for selector in asked for each in unknown(selector)]
    return wrong + [f"no label {label}" for label in grouping_labels(expression) - known]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_what_is_there(rule: dict[str, Any]) -> None:
    assert mistakes(rule["expr"]) == []


@pytest.mark.parametrize("file", DASHBOARDS, ids=page_name)
def test_a_dashboard_asks_for_what_is_there(file: Path) -> None:
    found = [(title, mistakes(expression)) for title, expression in panel_expressions(file)]
    assert [(title, wrong) for title, wrong in found if wrong] == []


def test_the_incidents_are_made_of_what_is_there() -> None:
    names = {each["series"] for incident in INCIDENTS.values() for each in incident.input_series()}
    wrong = {
        mistake
        for name in names
        for selector in selectors(name)
        for mistake in unknown(selector)
        if "bucket" not in mistake
    }
    assert wrong == set()


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("sum(rate(relaykit_no_such_total[5m]))", ["no metric relaykit_no_such_total"]),
        ('rate(relaykit_attempts_total{kind="lost"}[5m]) > 0', ["relaykit_attempts_total has no label kind"]),
        (
            'relaykit_requests_refused_total{code=~"queue_full|quue_full"}',
            ["relaykit_requests_refused_total has no code quue_full"],
        ),
        ("sum by (tenant) (relaykit_due_runs)", ["no label tenant"]),
        ('relaykit_pickup_seconds_bucket{le="7.0"}', ["relaykit_pickup_seconds_bucket has no bucket 7.0"]),
        ("histogram_quantile(0.9, http_seconds_bucket) and on (job) up", ["no metric http_seconds_bucket"]),
    ],
)
def test_what_is_not_there_is_told(expression: str, wrong: list[str]) -> None:
    assert mistakes(expression) == wrong


def test_each_recorded_series_is_used() -> None:
    asked = [rule["expr"] for rule in alerts()]
    asked += [expression for file in DASHBOARDS for _, expression in panel_expressions(file)]
    used = {selector.name for expression in asked for selector in selectors(expression)}
    assert set(recorded()) <= used


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_has_a_severity_and_a_section_in_the_runbook(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    said = alert["annotations"]
    assert said["summary"].endswith(".")
    assert said["description"].endswith(".")
    page, _, anchor = said["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), flags=re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_each_section_of_the_runbook_is_an_alert_s_and_names_panels_that_are_there() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    sections = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    titles = {
        f"{dashboard(file)['title'].removeprefix('Relaykit / ')}: {panel['title']}"
        for file in DASHBOARDS
        for panel in panels(file)
    }
    assert [section.split("\n")[0] for section in sections] == [alert["alert"] for alert in alerts()]
    for section in sections:
        named = re.findall(r"\*([^*]+: [^*]+)\*", " ".join(section.split()))
        assert named, section
        assert set(named) <= titles, section


@pytest.mark.parametrize("file", DASHBOARDS, ids=page_name)
def test_a_dashboard_is_whole(file: Path) -> None:
    """Grafana takes a file without saying that panels overlap, share an id, or ask a data source that is not there."""
    board = dashboard(file)
    assert board["uid"] == file.stem
    variables = {variable["name"]: variable["type"] for variable in board["templating"]["list"]}
    assert variables == {"datasource": "datasource", "namespace": "query"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert max(x for x, _ in cells) < GRID_COLUMNS
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
    for panel in panels(file):
        assert panel["title"]
        assert panel["description"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}
        assert all("$namespace" in target["expr"] for target in panel["targets"]), panel["title"]


def test_the_dashboards_have_names_of_their_own() -> None:
    assert len({dashboard(file)["title"] for file in DASHBOARDS}) == len(DASHBOARDS) == 4
