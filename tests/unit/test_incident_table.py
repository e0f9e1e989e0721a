"""The table of incidents in docs/operations.md names only what there is, and each row has a test that injects it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from relaykit import cli
from relaykit.shared.errors import RelaykitError
from tests.incidents.table import COLUMNS, Row, section, table
from tests.prometheus.rules import alerts
from tests.support.repository.documents import ROOT
from tests.unit.test_log_messages import LOGGED
from tests.unit.test_rules_and_dashboards import mistakes

INJECTED = (ROOT / "tests" / "incidents" / "test_incidents.py").read_text()
FIELDS = {"action", "code", "cause_code", "reason"}
each_row = pytest.mark.parametrize("row", table().values(), ids=lambda row: row.incident)


def codes(kind: type[RelaykitError] = RelaykitError) -> Iterator[str]:
    yield kind.code
    for inner in kind.__subclasses__():
        yield from codes(inner)


def test_there_are_twelve() -> None:
    heads = next(line for line in section().splitlines() if line.startswith("|"))
    assert tuple(cell.strip() for cell in heads.strip("|").split("|")) == COLUMNS
    assert len(table()) == 12


@each_row
def test_no_cell_is_empty(row: Row) -> None:
    assert row.metrics
    assert row.fires
    assert row.lines
    assert row.console
    assert row.commands


@each_row
def test_the_metrics_are_there(row: Row) -> None:
    assert [wrong for query in row.metrics for wrong in mistakes(query)] == []


@each_row
def test_the_alerts_are_there(row: Row) -> None:
    assert row.fires | row.follows <= {alert["alert"] for alert in alerts()}


@each_row
def test_the_lines_are_logged(row: Row) -> None:
    for line in row.lines:
        assert set(line) <= FIELDS
        assert line["action"] in LOGGED
        assert line.get("code", RelaykitError.code) in set(codes())


@each_row
def test_the_commands_are_there(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """With these arguments."""
    called = []
    for name, (_, summary) in list(cli.COMMANDS.items()):
        monkeypatch.setitem(cli.COMMANDS, name, (lambda given: called.append(given) or 0, summary))
    for command in row.commands:
        program, *words = command.split()
        assert program == "relaykit"
        assert cli.main(words) == 0
    assert len(called) == len(row.commands)


@each_row
def test_it_is_injected(row: Row) -> None:
    assert f'ROWS["{row.incident}"]' in INJECTED
