"""The shell blocks of the pages that a newcomer reads do what the pages say: each is executed, in order.

README.md in a fresh clone, docs/quickstart.md in an empty folder with the wheel, the others in the folder of a site. A
page marks a command that is not executed by a comment in the line before its block, and NOT_EXECUTED has the reason. A
block without a language fails, so a new one is executed or is no shell block.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.support.processes.local_mode import signed_in, wait_until
from tests.support.processes.terminal import MINUTES, Terminal
from tests.support.repository.shell_blocks import SHELL, Block, blocks, commands
from tests.support.services.databases import Databases, RedisDatabases, remove_data
from tests.support.sites.dev_site import Site
from tests.support.system import ROOT, create, free_port

PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in (
        ROOT / "README.md",
        *(ROOT / "docs" / f"{name}.md" for name in ("quickstart", "development", "testing-your-server")),
        *(ROOT / "docs").glob("your-*.md"),
    )
)
NOT_EXECUTED = {
    ("README.md", "make test"): "it would execute this test",
    (
        "docs/development.md",
        "pip install",
    ): "the index has to have the wheel; docs/quickstart.md installs a file",
}
LANGUAGES = {SHELL, "nginx", "python", "text"}
SAYS = {"curl ": ": end completed", "pytest": " passed", "relaykit check": "settings"}
"""What a command prints where it did what it is there for, by its beginning."""

_ENDLESS = re.compile(r"(?:^|; )(?:[A-Z_]+=\S+ )*(make run|relaykit (?:dev|local|api|worker))\b")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
takes_minutes = pytest.mark.timeout(3 * MINUTES)  # packages are installed
_READY = "Relaykit is ready: http://"
_INDEX_NAMES = ("PIP_", "UV_", "SSL_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def shell_blocks(page: str) -> list[Block]:
    return [block for block in blocks((ROOT / page).read_text()) if block.language == SHELL]


@pytest.mark.parametrize("page", PAGES)
def test_each_block_says_its_language(page: str) -> None:
    """`sh` is executed; `bash` or `console` would not be, and is not known here."""
    unknown = [
        f"line {block.line}: {block.language!r}"
        for block in blocks((ROOT / page).read_text())
        if block.language not in LANGUAGES
    ]
    assert unknown == []


def test_what_is_not_executed_has_its_reason() -> None:
    marked = {
        (page, block.not_executed)
        for page in PAGES
        for block in blocks((ROOT / page).read_text())
        if block.not_executed is not None
    }
    assert marked == set(NOT_EXECUTED)
    for page, beginning in NOT_EXECUTED:
        found = [
            command
            for block in shell_blocks(page)
            if block.not_executed == beginning
            for command in commands(block.text)
            if command.startswith(beginning)
        ]
        assert len(found) == 1, f"{page}: {beginning}"


def test_a_block_is_read_as_bash_would_read_it() -> None:
    lines = [
        "<!-- not executed: make test -->",
        "```sh",
        "make test",
        "A=$(true |",
        "  cat)",
        "",
        "echo 'a",
        " b'  # c",
    ]
    marked, text = blocks("\n".join([*lines, "```", "```text", "x", "```"]))
    assert (marked.line, marked.language, marked.not_executed) == (2, "sh", "make test")
    assert (text.language, text.not_executed) == ("text", None)
    assert list(commands(marked.text)) == ["make test", "A=$(true |\n  cat)", "echo 'a\n b'  # c"]
    with pytest.raises(ValueError, match="bash cannot read"):
        list(commands("echo 'a"))


# A newcomer's machine


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What installs packages needs an index of packages."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-cache-dir", "--no-deps", "idna"]
    folder = tmp_path_factory.mktemp("asked")
    asked = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=MINUTES)
    if asked.returncode != 0:
        assert not os.environ.get("CI"), asked.stderr
        pytest.skip("no index of packages can be reached")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make wheel` builds it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [Path(sys.executable).with_name("uv"), "build", "--quiet", "--wheel", "--no-build-isolation"]
    subprocess.run(
        [*command, "--python", sys.executable, "--out-dir", folder, ROOT], check=True, timeout=MINUTES
    )
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, index: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with `relaykit[local]`, for the pages that take it to be there."""
    environment = tmp_path_factory.mktemp("environment")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", environment, f"{wheel}[local]"]
    subprocess.run(install, check=True, timeout=MINUTES)
    return environment / "bin"


@dataclass
class Newcomer:
    """Types the blocks of a page, and looks at what comes of them."""

    terminal: Terminal
    port: int

    async def type_block(self, block: Block) -> None:
        for command in commands(block.text):
            if block.not_executed is not None and command.startswith(block.not_executed):
                continue
            typed = command.replace("localhost:8000", f"127.0.0.1:{self.port}")
            if endless := _ENDLESS.search(typed):
                self._start(typed, endless[1])
                continue
            said = self.terminal.run(typed)
            for beginning, words in SAYS.items():
                assert not re.search(rf"^{beginning}", typed, re.MULTILINE) or words in said, (
                    f"{typed}\n{said}"
                )

    def _start(self, command: str, program: str) -> None:
        """Two that listen at the same port are one after the other; a worker is beside an API."""
        if program != "relaykit worker":
            self.stop()
        job = self.terminal.start(command)

        def is_ready() -> bool:
            if program == "relaykit worker":
                return "worker started" in job.said
            return self._api_is_ready() if program == "relaykit api" else _READY in job.said

        ended = "it ended"
        wait_until(
            f"{command}: is ready, or {ended}",
            lambda: is_ready() or not self.terminal.is_running(job),
            MINUTES,
        )
        assert is_ready(), f"{command}: {ended}\n{job.said}"

    def _api_is_ready(self) -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    async def ask(self) -> str:
        """What the running server answers to a user."""
        caller = await signed_in(f"http://127.0.0.1:{self.port}")
        try:
            answer = await caller.stream(create("hello"))
        finally:
            await caller.client.aclose()
        assert answer.end == "completed", answer.raw
        return answer.text

    def stop(self) -> None:
        """Ctrl-C in each terminal, the newest first."""
        for job in reversed(self.terminal.jobs.copy()):
            self.terminal.interrupt(job)


@dataclass
class Machine:
    """A home of its own, without anything of the checkout on PATH."""

    home: Path
    terminals: list[Terminal]

    def newcomer(self, folder: Path, *programs: Path, **environ: str) -> Newcomer:
        port = free_port()
        own = Path(sys.prefix)
        path = [
            *map(str, programs),
            *(p for p in os.environ["PATH"].split(":") if own not in Path(p).parents),
        ]
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        environment = {
            "PIP_CACHE_DIR": str(caches / "pip"),
            "UV_CACHE_DIR": str(caches / "uv"),
            **{name: value for name, value in os.environ.items() if name.upper().startswith(_INDEX_NAMES)},
            "HOME": str(self.home),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "PATH": ":".join(path),
            "PORT": str(port),
            **environ,
        }
        notes = self.home.parent / f"terminal-{len(self.terminals)}"
        self.terminals.append(Terminal(folder, environment, notes))
        return Newcomer(self.terminals[-1], port)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path / "home", [])
    made.home.mkdir()
    yield made
    for terminal in made.terminals:
        terminal.close()
    for data in made.home.rglob(".relaykit"):
        remove_data(data)


@pytest.fixture
def shop(machine: Machine) -> Path:
    """~/shop, a folder with a server that one has."""
    return Site(machine.home / "shop").folder


def clone(target: Path) -> Path:
    """The files of this checkout that are the project's, and nothing that was made of them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = ROOT / name
        if source.is_symlink() or source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)
    return target


@pytest.mark.long
@on_linux
@takes_minutes
async def test_the_readme_in_a_fresh_clone(machine: Machine, shop: Path, index: None) -> None:
    newcomer = machine.newcomer(clone(machine.home / "relaykit"))
    two_commands, from_a_shell, own_server = shell_blocks("README.md")
    await newcomer.type_block(two_commands)
    assert "scripted assistant" in await newcomer.ask()
    await newcomer.type_block(from_a_shell)
    await newcomer.type_block(own_server)
    assert await newcomer.ask() == "first none "
    newcomer.stop()


@pytest.mark.long
@on_linux
@takes_minutes
async def test_the_quickstart_in_an_empty_folder(
    machine: Machine,
    shop: Path,
    wheel: Path,
    index: None,
    databases: Databases,
    redis_databases: RedisDatabases,
    issuer_key_file: Path,
) -> None:
    folder = machine.home / "new"
    folder.mkdir()
    shutil.copy(wheel, folder)
    newcomer = machine.newcomer(folder)
    from_nothing, tests, own_server, processes = shell_blocks("docs/quickstart.md")
    await newcomer.type_block(from_nothing)
    assert await newcomer.ask() == "You said: hello"
    await newcomer.type_block(tests)
    newcomer.terminal.run(f"cd {shop}")  # "in its folder"
    await newcomer.type_block(own_server)
    assert await newcomer.ask() == "first none "
    newcomer.stop()
    with redis_databases.fresh() as redis_url, databases.fresh(migrated=False) as database_url:
        address = f"http://127.0.0.1:{newcomer.port}"
        for name, value in {
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "JWKS_URL": f"{address}/dev/jwks.json",
            "JWT_ISSUER": address,
            "JWT_AUDIENCE": "shop",
            "LOCAL_ISSUER_KEY_FILE": str(issuer_key_file),
            "CHATKIT_SERVER": "shop.chat:ShopServer",
        }.items():
            newcomer.terminal.run(f"export {name}='{value}'")
        await newcomer.type_block(processes)
        newcomer.stop()


@pytest.mark.long
@on_linux
@takes_minutes
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in ("README.md", "docs/quickstart.md") and shell_blocks(page)]
)
async def test_a_page_in_the_folder_of_a_site(
    page: str, machine: Machine, shop: Path, installed: Path
) -> None:
    newcomer = machine.newcomer(shop, installed)
    for block in shell_blocks(page):
        await newcomer.type_block(block)
        if newcomer.terminal.jobs:
            assert await newcomer.ask() == "first none "
    newcomer.stop()
