"""deploy/kubernetes: each overlay as kubectl renders it, against the schemas, and what the parts say of each other."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from relaykit.api import metrics as api_metrics
from relaykit.shared.settings import Settings, load_settings
from relaykit.worker import metrics as worker_metrics
from tests.support.processes.programs import required
from tests.support.system import ROOT

pytestmark = pytest.mark.deploy

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
RENDERED = [part for name in OVERLAYS for part in (f"overlays/{name}", f"overlays/{name}/migrate")]
VERSIONS = ("1.30", kubernetes_validate.latest_version())
OWN_GROUPS = ("", "apps", "autoscaling", "batch", "networking.k8s.io", "policy")
CRDS = ROOT / "tests" / "deploy" / "crds"
KILL_MARGIN_SECONDS = 8
SECRETS = {
    "REDIS_URL": "redis://redis:6379/0",
    "DATABASE_URL": "postgresql://relaykit@postgres/relaykit",
    "ATTACHMENTS_KEY": "a secret of the tests that has more than 32 bytes",
}

Resource = dict[str, Any]


@cache
def rendered(part: str) -> tuple[Resource, ...]:
    command = [required("kubectl"), "kustomize", str(KUBERNETES / part)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def group(resource: Resource) -> str:
    return resource["apiVersion"].rpartition("/")[0]


def of_kind(part: str, kind: str) -> list[Resource]:
    return [one for one in rendered(part) if one["kind"] == kind]


def named(part: str, kind: str, name: str) -> Resource:
    (found,) = [one for one in of_kind(part, kind) if one["metadata"]["name"] == name]
    return found


def pods(part: str) -> list[tuple[str, Resource]]:
    """Name and pod template of each thing that has one."""
    return [
        (one["metadata"]["name"], one["spec"]["template"])
        for one in rendered(part)
        if one["kind"] in ("Deployment", "Job")
    ]


def settings_of(overlay: str) -> Settings:
    """As its processes read them, with the Secret that the page asks for."""
    (config,) = of_kind(f"overlays/{overlay}", "ConfigMap")
    assert not set(config["data"]) - {name.upper() for name in Settings.model_fields}
    return load_settings({**config["data"], **SECRETS})


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("part", RENDERED)
def test_what_kubernetes_knows_fits_its_schemas(part: str, version: str) -> None:
    """Strictly: a field that the schema does not have fails."""
    for resource in rendered(part):
        if group(resource) in OWN_GROUPS:
            kubernetes_validate.validate(resource, version, strict=True)


def test_a_field_that_is_spelt_wrong_would_be_found() -> None:
    broken = json.loads(json.dumps(named("overlays/production", "Deployment", "relaykit-api")))
    broken["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_others_bring_fits_their_schemas(overlay: str) -> None:
    others = [one for one in rendered(f"overlays/{overlay}") if group(one) not in OWN_GROUPS]
    assert others
    assert problems(others) == ""


def test_a_wrong_resource_of_others_would_be_found() -> None:
    (scaled,) = of_kind("overlays/production", "ScaledObject")
    assert "wrong" in problems([{**scaled, "metadata": {"name": "wrong"}, "spec": {"triggers": []}}])


def problems(resources: list[Resource]) -> str:
    done = subprocess.run(
        [required("node"), "validate.cjs"],
        cwd=CRDS,
        input=json.dumps(resources),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("part", RENDERED)
def test_pods_have_no_rights_and_secrets_are_named_and_not_given(part: str) -> None:
    assert of_kind(part, "Secret") == []
    assert pods(part)
    for name, template in pods(part):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["image"] != "relaykit", "the overlay names no image"
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_are_settings_and_the_rollout_and_the_migration_have_one_image(overlay: str) -> None:
    assert settings_of(overlay).takes_tokens
    images = {
        container["image"]
        for part in (f"overlays/{overlay}", f"overlays/{overlay}/migrate")
        for _, template in pods(part)
        for container in template["spec"]["containers"]
    }
    assert len(images) == 1
    spaces = {
        one["metadata"].get("namespace")
        for part in (f"overlays/{overlay}", f"overlays/{overlay}/migrate")
        for one in rendered(part)
    }
    assert len(spaces) == 1, spaces


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_grace_of_each_process_is_above_its_drain(overlay: str) -> None:
    settings = settings_of(overlay)
    times = {
        "relaykit-api": settings.shutdown_delay_seconds + settings.drain_seconds,
        "relaykit-worker": settings.drain_seconds + settings.lease_seconds,
    }
    for name, seconds in times.items():
        spec = named(f"overlays/{overlay}", "Deployment", name)["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] >= seconds + KILL_MARGIN_SECONDS
        started = spec["containers"][0]["startupProbe"]
        assert started["periodSeconds"] * started["failureThreshold"] > settings.lifespan_seconds


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_selector_finds_the_pods_that_it_means(overlay: str) -> None:
    part = f"overlays/{overlay}"
    labels = {name: template["metadata"]["labels"] for name, template in pods(part)}

    def found(selector: dict[str, str]) -> set[str]:
        return {name for name, given in labels.items() if selector.items() <= given.items()}

    assert found(named(part, "Service", "relaykit-api")["spec"]["selector"]) == {"relaykit-api"}
    selectors = {"PodDisruptionBudget": "selector", "PodMonitor": "selector", "NetworkPolicy": "podSelector"}
    for kind, path in selectors.items():
        for resource in of_kind(part, kind):
            name = resource["metadata"]["name"]
            meant = {name} if name in labels else set(labels)
            assert found(resource["spec"][path]["matchLabels"]) == meant, (kind, name)
    for name, template in pods(part):
        for spread in template["spec"]["topologySpreadConstraints"]:
            assert found(spread["labelSelector"]["matchLabels"]) == {name}
        ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert template["spec"]["containers"][0][probe]["httpGet"]["port"] in ports


def test_the_autoscalers_ask_for_metrics_that_there_are() -> None:
    part = "overlays/production"
    text = "".join(path.read_text() for path in (KUBERNETES / "components").rglob("*.yaml"))
    known = {
        sample
        for module in (api_metrics, worker_metrics)
        for metric in vars(module).values()
        if isinstance(metric, MetricWrapperBase)
        for sample in (family.name for family in metric.describe())
    }
    asked = set(re.findall(r"relaykit_\w+", text))
    wanted = {
        "relaykit_streams",
        "relaykit_worker_runs",
        "relaykit_due_runs",
        "relaykit_oldest_due_run_seconds",
    }
    assert wanted <= asked <= known
    (scaler,) = of_kind(part, "HorizontalPodAutoscaler")
    (scaled,) = of_kind(part, "ScaledObject")
    for one in (scaler, scaled):
        target = one["spec"]["scaleTargetRef"]
        deployment = named(part, target["kind"], target["name"])
        assert "replicas" not in deployment["spec"], "an apply would set the number back"
    namespace = named(part, "Deployment", "relaykit-worker")["metadata"]["namespace"]
    for trigger in scaled["spec"]["triggers"]:
        assert f'namespace="{namespace}"' in trigger["metadata"]["query"]
        assert float(trigger["metadata"]["threshold"]) > 0


def test_metrics_and_the_console_have_no_way_in() -> None:
    for overlay in OVERLAYS:
        (route,) = of_kind(f"overlays/{overlay}", "HTTPRoute")
        closed, opened = route["spec"]["rules"]
        assert "backendRefs" not in closed
        assert {match["path"]["value"] for match in closed["matches"]} == {"/metrics", "/ops"}
        assert opened["timeouts"] == {"request": "0s", "backendRequest": "0s"}
        assert Path(KUBERNETES / "overlays" / overlay / "settings.env").is_file()
