"""Each alert fires for its incident and for no other, by promtool."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.prometheus.incidents import INCIDENTS, Incident
from tests.prometheus.rules import RULES, alerts
from tests.support.processes.programs import required

pytestmark = pytest.mark.long

FIRING = 'count by (alertname) (count by (alertname) (ALERTS{alertstate="firing"}))'


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [required("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def fired(incident: Incident, folder: Path, alerts_named: set[str]) -> str:
    """What promtool says where other alerts fire at the incident's end than these; else nothing."""
    step = f"{incident.step_seconds}s"
    seconds = round(incident.all_minutes * 60) - incident.step_seconds
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": step,
        "tests": [
            {
                "interval": step,
                "input_series": incident.input_series(),
                "promql_expr_test": [
                    {
                        "expr": FIRING,
                        "eval_time": f"{seconds}s",
                        "exp_samples": [
                            {"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(alerts_named)
                        ],
                    }
                ],
            }
        ],
    }
    file = folder / "incident.json"
    file.write_text(json.dumps(test))
    done = promtool("test", "rules", file)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_promtool_finds_nothing_in_the_rules() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", INCIDENTS)
def test_an_incident_fires_its_alerts_and_no_other(name: str, tmp_path: Path) -> None:
    incident = INCIDENTS[name]
    assert fired(incident, tmp_path, incident.fires) == ""


def test_each_alert_has_an_incident_in_which_it_fires_alone() -> None:
    alone = {name for incident in INCIDENTS.values() if len(incident.fires) == 1 for name in incident.fires}
    assert {alert["alert"] for alert in alerts()} == alone


def test_an_incident_that_fires_another_alert_is_told(tmp_path: Path) -> None:
    """The test above would see it."""
    assert "RelaykitNoWorker" in fired(INCIDENTS["every worker is gone"], tmp_path, {"RelaykitNoApi"})
