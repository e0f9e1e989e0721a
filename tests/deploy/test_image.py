"""The image: what is in it, who runs it, and three processes of it that serve a chat."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx2
import jwt
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from relaykit.cli import main
from relaykit.shared.settings import Settings
from relaykit.shared.version import VERSION
from tests.support.processes.containers import Container, Engine
from tests.support.services.databases import Databases
from tests.support.system import ROOT, START_SECONDS, Caller, create, free_port, wait_until

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1800)]

SECRET = "a secret of the tests that has more than 32 bytes"
IDENTITY = {"JWT_SECRET": SECRET, "JWT_ISSUER": "tests", "JWT_AUDIENCE": "relaykit"}
USER = "10001"


def token(sub: str) -> str:
    now = int(time.time())
    return jwt.encode({"sub": sub, "iss": "tests", "aud": "relaykit", "iat": now, "exp": now + 3600}, SECRET)


@pytest.fixture
def environ(containers: Engine, redis_url: str, databases: Databases) -> Iterator[dict[str, str]]:
    """Of a deployment whose database has no schema yet. Its containers end before its services do."""
    with databases.fresh(migrated=False) as database_url, emptied(containers):
        yield {
            **IDENTITY,
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "HOST": "127.0.0.1",
            "PORT": str(free_port()),
            "WORKER_PORT": str(free_port()),
            "DRAIN_SECONDS": "2",
            "SHUTDOWN_DELAY_SECONDS": "0",
        }


@contextmanager
def emptied(containers: Engine) -> Iterator[None]:
    try:
        yield
    finally:
        containers.remove_containers()


@asynccontextmanager
async def caller(environ: dict[str, str], sub: str = "alice") -> AsyncIterator[Caller]:
    url = f"http://127.0.0.1:{environ['PORT']}"
    async with httpx2.AsyncClient(base_url=url, timeout=httpx2.Timeout(120)) as client:
        yield Caller(client, token(sub))


async def answers(container: Container, port: str, path: str = "/readyz") -> None:
    """Waits until the process says that it is ready."""
    async with httpx2.AsyncClient() as client:

        async def ready() -> bool:
            assert container.status is None, container.output
            try:
                return (await client.get(f"http://127.0.0.1:{port}{path}")).status_code == 200
            except httpx2.TransportError:
                return False

        await wait_until(f"port {port} answers {path}", ready, START_SECONDS)


def test_it_says_what_it_is_and_runs_as_a_user_without_rights(containers: Engine, image: str) -> None:
    inspected = containers.inspect(image)
    config = inspected["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["tini", "--"]
    assert config["Cmd"] == ["relaykit", "api"]
    assert config["Labels"]["org.opencontainers.image.version"] == VERSION
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert "healthcheck.py" in " ".join(inspected["Healthcheck"]["Test"])


def test_it_has_what_is_locked_and_nothing_else(containers: Engine, image: str) -> None:
    lock = (ROOT / "requirements-otel.lock").read_text().replace("\\\n", " ")
    required = [Requirement(line.split(" --hash")[0]) for line in lock.splitlines() if "==" in line]
    assert len(required) > 40
    locked = {_pinned(str(one.specifier), one.name) for one in required if one.marker is None}
    perhaps = {_pinned(str(one.specifier), one.name) for one in required if one.marker is not None}
    listed = containers.shell(image, "pip list --format=freeze").split()
    found = {_pinned(f"=={version}", name) for name, _, version in (line.partition("==") for line in listed)}
    ours = {line for line in found if line.split("==")[0] in ("relaykit", "pip")}
    assert f"relaykit=={VERSION}" in ours
    assert locked <= found
    assert found - ours - locked <= perhaps


def _pinned(specifier: str, name: str) -> str:
    return f"{canonicalize_name(name)}{specifier}"


def test_its_user_can_write_where_a_site_and_its_data_stand_and_nowhere_else(
    containers: Engine, image: str
) -> None:
    """Also without a read-only root file system."""
    script = "find / -xdev -writable ! -type l ! -path '/proc/*' ! -path '/dev/*' ! -path '/sys/*' 2>/dev/null || :"
    found = set(containers.shell(image, script, "--cap-drop=all").split())
    assert {"/site", "/opt/site", "/var/lib/relaykit", "/var/lib/relaykit/attachments"} <= found
    allowed = re.compile(r"^/(site|opt/site|var/lib/relaykit|tmp|var/tmp|run/lock|run)(/|$)")
    assert [path for path in found if not allowed.match(path)] == []


async def test_three_processes_of_it_serve_a_chat(
    containers: Engine, image: str, environ: dict[str, str]
) -> None:
    """As a user without rights, with a read-only root file system and without a writable /tmp."""
    strict = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges")
    early = containers.run(image, "relaykit", "api", environ=environ, options=strict)
    assert early.wait() == 2, early.output
    assert "schema_outdated" in early.output

    migration = containers.run(image, "relaykit", "migrate", environ=environ, options=strict)
    assert migration.wait() == 0, migration.output

    api = containers.run(image, environ=environ, options=strict)
    worker = containers.run(image, "relaykit", "worker", environ=environ, options=strict)
    await answers(api, environ["PORT"])
    await answers(worker, environ["WORKER_PORT"])
    assert api.healthy(), api.output
    assert worker.healthy(), worker.output
    async with caller(environ) as alice:
        answer = await alice.stream(create("hello"))
        assert answer.end == "completed"
        assert answer.text
    assert containers.podman("exec", api.name, "id", "-u").strip() == USER
    assert worker.stop() == 0, worker.output
    assert api.stop() == 0, api.output


async def test_a_process_that_stands_still_is_not_healthy(
    containers: Engine, image: str, environ: dict[str, str]
) -> None:
    assert containers.run(image, "relaykit", "migrate", environ=environ).wait() == 0
    api = containers.run(image, "relaykit", "api", environ=environ)
    worker = containers.run(image, "relaykit", "worker", environ=environ)
    await answers(api, environ["PORT"])
    await answers(worker, environ["WORKER_PORT"])
    for container, port in ((api, environ["PORT"]), (worker, environ["WORKER_PORT"])):
        assert container.healthy(), container.output
        for process in container.processes():
            process.suspend()
        assert not container.healthy(), port
        for process in container.processes():
            process.kill()


async def test_attachments_are_kept_in_a_volume_that_api_and_worker_share(
    containers: Engine, image: str, environ: dict[str, str]
) -> None:
    """A new volume belongs to the image's user, without a step of the operator's."""
    public = f"http://127.0.0.1:{environ['PORT']}"
    folder = "/var/lib/relaykit/attachments"
    more = {"ATTACHMENTS_URL": f"file://{folder}", "ATTACHMENTS_KEY": SECRET, "PUBLIC_URL": public}
    options = ("--read-only", "--cap-drop=all", f"--volume=attachments:{folder}")
    assert containers.run(image, "relaykit", "migrate", environ=environ).wait() == 0
    api = containers.run(image, "relaykit", "api", environ={**environ, **more}, options=options)
    await answers(api, environ["PORT"])
    picture = b"\x89PNG\r\n\x1a\n" + bytes(3 * 1024 * 1024)
    async with caller(environ) as alice:
        params = {"name": "tea.png", "size": len(picture), "mime_type": "image/png"}
        made = await alice.ask({"type": "attachments.create", "params": params})
        put = await alice.client.put(made["upload_descriptor"]["url"], content=picture)
        assert put.status_code in (200, 201, 204), put.text
    seen = containers.shell(image, f"find {folder} -type f -size +3000k", f"--volume=attachments:{folder}")
    assert seen.strip(), "another container of the volume does not see the bytes"
    assert api.stop() == 0, api.output


async def test_a_site_is_an_image_of_three_lines(
    containers: Engine, image: str, environ: dict[str, str], tmp_path: Path
) -> None:
    """What `relaykit new` writes, with a package of the site's own: it answers its page and its chat."""
    site = tmp_path / "shop"
    assert main(["new", str(site)]) == 0
    lines = [line for line in (site / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == 3
    project = site / "pyproject.toml"
    project.write_text(project.read_text().replace("dependencies = [", 'dependencies = ["inflection", ', 1))
    chat = site / "chat.py"
    chat.write_text(f"{chat.read_text()}\nimport inflection  # noqa: E402\n")
    built = containers.build(site / "Dockerfile", site, "shop:1")
    assert built.returncode == 0, built.stderr[-4000:]
    assert containers.shell("shop:1", "ls -a /site").split().count(".env") == 0

    more = {**environ, "CHATKIT_SERVER": "chat:ChatServer", "CHATKIT_APP": "web:app"}
    assert containers.run("shop:1", "relaykit", "migrate", environ=more).wait() == 0
    api = containers.run("shop:1", environ=more)
    worker = containers.run("shop:1", "relaykit", "worker", environ=more)
    await answers(api, environ["PORT"])
    await answers(worker, environ["WORKER_PORT"])
    async with caller(environ) as alice:
        assert (await alice.get("/chat")).status_code == 200
        answer = await alice.stream(create("hello"))
        assert (answer.end, "hello" in answer.text) == ("completed", True)


def test_a_site_that_wants_another_version_of_what_is_locked_is_not_built(
    containers: Engine, image: str, tmp_path: Path
) -> None:
    site = tmp_path / "shop"
    assert main(["new", str(site)]) == 0
    (site / "pyproject.toml").write_text(
        (site / "pyproject.toml").read_text().replace("dependencies = [", 'dependencies = ["pydantic<2", ', 1)
    )
    built = containers.build(site / "Dockerfile", site, "shop:2")
    assert built.returncode != 0
    assert "pydantic<2" in built.stdout + built.stderr
    assert "constraint" in built.stdout + built.stderr


def test_make_image_names_the_version_that_the_template_begins_with(tmp_path: Path) -> None:
    site = tmp_path / "shop"
    assert main(["new", str(site)]) == 0
    assert (site / "Dockerfile").read_text().startswith(f"FROM relaykit:{VERSION}\n")
    makefile = (ROOT / "Makefile").read_text()
    assert "relaykit:$(VERSION)" in makefile
    assert shutil.which("make")
    assert Settings.model_fields["port"].default == 8000
