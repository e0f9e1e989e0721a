"""The files of deploy/ say what the code does: their figures, their settings, and the files that they copy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from relaykit.cli import COMMANDS, main
from relaykit.shared.settings import Settings
from relaykit.shared.version import VERSION
from tests.support.repository.documents import ROOT, code_blocks

DEPLOY = ROOT / "deploy"
PROXIES = sorted((DEPLOY / "proxies").iterdir())
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()
ENVIRONMENTS = [
    *DEPLOY.glob("compose/*.env.example"),
    *DEPLOY.glob("kubernetes/overlays/*/settings.env"),
]
OF_THE_SITE = {"OPENAI_API_KEY"}
DEFAULTS = {name: field.default for name, field in Settings.model_fields.items()}
PROXY_CODES = {"bad_gateway", "unavailable", "gateway_timeout"}
CODE = re.compile(r'"?error"?: ?\{"?code"?: ?"?([a-z_]+)"?')


def name_of(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


def test_each_path_that_the_image_copies_is_there_and_in_its_context() -> None:
    """The context is a list of what it has, so that no secret and no build of the host's gets in."""
    ignored, *allowed = (ROOT / ".dockerignore").read_text().splitlines()[1:]
    assert ignored == "*"
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert len(copied) > 10
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in allowed or f"!{Path(source).parent}" in allowed, source


def test_the_image_has_what_the_settings_take() -> None:
    (variables,) = re.findall(r"^ENV PATH=.*?(?:\\\n.*?)*$", DOCKERFILE, re.MULTILINE)
    ours = dict(re.findall(r"\b(HOST|PORT|WORKER_PORT)=(\S+)", variables))
    assert ours == {"HOST": "0.0.0.0", "PORT": "8000", "WORKER_PORT": "8001"}
    assert {name.lower() for name in ours} <= set(Settings.model_fields)
    assert f"ARG VERSION={VERSION}\n" in DOCKERFILE
    assert "requirements-otel.lock" in DOCKERFILE
    installs = re.findall(r"pip install .*", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


def test_the_template_begins_with_the_image(tmp_path: Path) -> None:
    """In three lines; docs/deploy.md has the same."""
    assert main(["new", str(tmp_path / "shop")]) == 0
    text = (tmp_path / "shop" / "Dockerfile").read_text().strip()
    assert len(text.splitlines()) == 3
    assert text.startswith(f"FROM relaykit:{VERSION}\n")
    assert text in code_blocks((ROOT / "docs" / "deploy.md").read_text())


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=name_of)
def test_each_name_in_a_file_of_settings_is_a_setting(path: Path) -> None:
    names = set(re.findall(r"^([A-Z_]+)=", path.read_text(), re.MULTILINE))
    assert len(names) > 4
    assert names - OF_THE_SITE <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("path", PROXIES, ids=name_of)
def test_the_figures_of_a_proxy_fit_those_of_the_api(path: Path) -> None:
    text = path.read_text()
    assert (
        f"KEEP_ALIVE_SECONDS, {DEFAULTS['keep_alive_seconds']}" in text
        or "timeout http-keep-alive 60s" in text
    )
    assert DEFAULTS["keep_alive_seconds"] > 60 > 2 * DEFAULTS["ping_seconds"]
    uploads = re.findall(r"client_max_body_size (21)m|max_size (21)MiB|gt (22020096)", text)
    assert DEFAULTS["attachment_max_bytes"] < 21 * 1024 * 1024 == 22020096
    assert uploads or path.name == "envoy.yaml", "Envoy has no limit of its own: the API's holds"


@pytest.mark.parametrize("path", [*PROXIES, DEPLOY / "compose" / "Caddyfile"], ids=name_of)
def test_the_errors_of_a_proxy_are_those_of_the_protocol(path: Path) -> None:
    found = set(CODE.findall(path.read_text()))
    assert found >= PROXY_CODES
    protocol = (ROOT / "docs" / "protocol.md").read_text()
    assert [code for code in found if f"`{code}`" not in protocol] == []


def test_caddy_beside_compose_differs_in_how_it_finds_the_api_alone() -> None:
    alone, beside = (
        [line.strip() for line in path.read_text().splitlines() if not line.strip().startswith("#")]
        for path in (DEPLOY / "proxies" / "Caddyfile", DEPLOY / "compose" / "Caddyfile")
    )
    assert [line for line in beside if line not in alone] == [
        "reverse_proxy {",
        "dynamic a {",
        "name api",
        "port 8000",
        "refresh 1s",
    ]
    assert [line for line in alone if line not in beside] == [
        "reverse_proxy {$UPSTREAMS:127.0.0.1:8000 127.0.0.1:8001} {",
        "health_uri /readyz",
        "health_interval 1s",
        "health_timeout 5s",
    ]


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("systemd/*.service")), ids=name_of)
def test_a_unit_starts_a_command_and_waits_for_its_drain(path: Path) -> None:
    text = path.read_text()
    (command,) = re.findall(r"^ExecStart=.*/opt/relaykit/bin/relaykit (\w+)$", text, re.MULTILINE)
    assert command in COMMANDS
    if command != "migrate":
        (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
        longest = max(DEFAULTS["shutdown_delay_seconds"], DEFAULTS["lease_seconds"])
        assert int(stop) >= DEFAULTS["drain_seconds"] + longest + 8
        (start,) = re.findall(r"^TimeoutStartSec=(\d+)$", text, re.MULTILINE)
        assert int(start) > DEFAULTS["lifespan_seconds"]


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=name_of)
def test_each_file_is_yaml(path: Path) -> None:
    assert list(yaml.safe_load_all(path.read_text()))


def test_production_is_ten_commands_away() -> None:
    (block,) = [one for one in code_blocks((ROOT / "docs" / "deploy.md").read_text()) if "make image" in one]
    assert re.findall(r"# (\d+)", block) == [str(number) for number in range(1, 11)]
    assert len(block.splitlines()) == 10
