"""deploy/compose by docker-compose's own reading of it, and the parts that can be run by themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from compose_spec import PyCompose

from relaykit.local.redis_server import redis_binary
from relaykit.shared.settings import Settings, load_settings
from tests.support.processes.programs import required
from tests.support.system import ROOT, free_port, wait_until

pytestmark = pytest.mark.deploy

FILES = ROOT / "deploy" / "compose"
GIVEN = {
    "RELAYKIT_IMAGE": "shop:1",
    "SITE_ADDRESS": "chat.example.com",
    "PUBLIC_URL": "https://chat.example.com",
    "POSTGRES_PASSWORD": "1" * 64,
    "REDIS_PASSWORD": "2" * 64,
    "ATTACHMENTS_KEY": "3" * 64,
    "GRAFANA_PASSWORD": "4" * 64,
}
IDENTITY = {
    "JWKS_URL": "https://issuer.example.com/jwks.json",
    "JWT_ISSUER": "https://issuer.example.com/",
    "JWT_AUDIENCE": "relaykit",
}
KILL_MARGIN_SECONDS = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """deploy/ as an operator has it, with the two files that are his."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", symlinks=True)
    compose = tmp_path / "deploy" / "compose"
    text = (compose / "env.example").read_text()
    for name, value in GIVEN.items():
        assert f"\n{name}=\n" in text, name
        text = text.replace(f"\n{name}=\n", f"\n{name}={value}\n")
    (compose / ".env").write_text(text)
    more = (compose / "relaykit.env.example").read_text()
    for name, value in IDENTITY.items():
        assert f"\n{name}=\n" in more, name
        more = more.replace(f"\n{name}=\n", f"\n{name}={value}\n")
    (compose / "relaykit.env").write_text(more)
    return compose


def config(folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        [required("docker-compose"), "config"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def services(folder: Path) -> dict[str, dict[str, Any]]:
    """As docker-compose understands them."""
    done = config(folder)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


def test_a_reader_of_the_newer_specification_takes_the_file(folder: Path) -> None:
    """docker-compose checks it against the schema that it has; this one is stricter, and reads no ${...}."""
    read = PyCompose.from_yaml(config(folder).stdout)
    assert set(read.service_names()) >= {
        "migrate",
        "api",
        "worker",
        "redis",
        "postgres",
        "prometheus",
        "grafana",
    }


@pytest.mark.parametrize("name", list(GIVEN))
def test_what_is_not_filled_in_is_named_and_nothing_starts(folder: Path, name: str) -> None:
    env = folder / ".env"
    env.write_text(env.read_text().replace(f"{name}={GIVEN[name]}", f"{name}="))
    done = config(folder)
    assert done.returncode != 0
    assert name in done.stderr


def test_no_secret_has_a_default(services: dict[str, dict[str, Any]]) -> None:
    """Each that a process is given is one of those in .env."""
    secrets = {value for name, value in GIVEN.items() if "PASSWORD" in name or "KEY" in name}
    given = [
        (name, variable, value)
        for name, service in services.items()
        for variable, value in (service.get("environment") or {}).items()
        if any(word in variable for word in ("PASSWORD", "SECRET", "KEY", "TOKEN")) and value
    ]
    assert len(given) > 4
    assert [one for one in given if one[2] not in secrets] == []
    arguments = " ".join(" ".join(map(str, service.get("command") or [])) for service in services.values())
    assert [value for value in secrets if value in arguments] == [], "the host's process list would show it"


def test_the_processes_settings_are_settings(services: dict[str, dict[str, Any]]) -> None:
    for name in ("api", "worker", "migrate"):
        environ = {key: str(value) for key, value in services[name]["environment"].items()}
        assert not set(environ) - {field.upper() for field in Settings.model_fields} - {"OPENAI_API_KEY"}
        settings = load_settings(environ)
        assert (settings.host, settings.port, settings.worker_port) == ("0.0.0.0", 8000, 8001)
        drain = settings.drain_seconds + max(settings.lease_seconds, settings.shutdown_delay_seconds)
        assert services[name]["stop_grace_period"] == "45s"
        assert drain + KILL_MARGIN_SECONDS <= 45


def test_the_migration_comes_first_and_runs_once(services: dict[str, dict[str, Any]]) -> None:
    assert services["migrate"]["command"] == ["relaykit", "migrate"]
    assert services["migrate"]["restart"] == "no"
    for name in ("api", "worker"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert services[name]["image"] == services["migrate"]["image"] == "shop:1"


def test_only_the_proxy_has_a_port_of_the_public(folder: Path, services: dict[str, dict[str, Any]]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert set(ports) == {"proxy", "grafana"}
    assert all(str(port).startswith("127.0.0.1:") for port in ports["grafana"])
    assert yaml.safe_load((folder / "compose.yaml").read_text())["networks"]["inside"] == {"internal": True}
    for name in ("redis", "postgres", "prometheus", "migrate"):
        assert list(services[name]["networks"]) == ["inside"], name


def test_the_files_that_are_mounted_are_there(folder: Path, services: dict[str, dict[str, Any]]) -> None:
    sources = {
        str(volume).split(":")[0]
        for service in services.values()
        for volume in service.get("volumes") or []
        if str(volume).startswith("/")
    }
    assert len(sources) >= 4
    assert [source for source in sources if not Path(source).exists()] == []


def test_prometheus_takes_its_file(folder: Path) -> None:
    """Which names rules that need not be there."""
    command = [required("promtool"), "check", "config", str(folder.parent / "prometheus" / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_caddy_takes_its_file(folder: Path) -> None:
    command = [required("caddy"), "validate", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "SITE_ADDRESS": ":8080"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def redis_port(services: dict[str, dict[str, Any]], tmp_path: Path) -> Iterator[int]:
    """Where a server listens that was started by the file's own command, but for its folder and port."""
    port, data, programs = free_port(), tmp_path / "data", tmp_path / "bin"
    data.mkdir()
    programs.mkdir()
    (programs / "redis-server").symlink_to(redis_binary())
    *shell, script = services["redis"]["command"]
    script = script.replace("$$", "$").replace("dir /data", f"dir {data}\nport {port}\nbind 127.0.0.1")
    environ = {key: str(value) for key, value in services["redis"]["environment"].items()}
    process = subprocess.Popen(
        [*shell, script],
        env={"PATH": f"{programs}:{os.environ['PATH']}", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        yield port
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(30)


async def test_redis_wants_its_password_and_evicts_nothing(redis_port: int) -> None:
    with redis.Redis(port=redis_port, password=GIVEN["REDIS_PASSWORD"]) as client:

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

        await wait_until("the server answers", answers)
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("maxmemory") == {"maxmemory": str(1024**3)}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    with redis.Redis(port=redis_port) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.ping()
