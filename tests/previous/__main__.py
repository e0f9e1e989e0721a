"""Freezes a release: `python -m tests.previous <commit>`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.previous import COMMIT, LUA, MIGRATIONS, NAME, STATEMENTS

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "shared", "worker")
LINKS = ("relaykit", "deploy", "examples", "web")
"""Of a release whose packages are those of `relaykit`, which has links to these."""
HEADER = "-- All that the processes of the release before say to PostgreSQL. Written by `python -m tests.previous`.\n"

COLLECT = '''
"""Tells the SQL statements of the modules here: those that have a name, and those that stand where they are used."""

import ast
import importlib
import json
import re
from pathlib import Path

STATEMENT = re.compile(r"\\s*(SELECT|WITH|INSERT INTO|UPDATE|DELETE FROM)\\s")
NOT_OF_THE_PROCESSES = {"shared.migrate", "relaykit.shared.postgres.migrate"}
PREFIX = "relaykit." if Path("relaykit").is_dir() else ""


def literals(tree):
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts
    ]


found = {}
for file in sorted(path for package in ("api", "shared", "worker") for path in Path(package).rglob("*.py")):
    name = PREFIX + ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    if file.stem == "__main__" or name in NOT_OF_THE_PROCESSES:
        continue
    named = {
        value: f"{name}.{key}"
        for key, value in vars(importlib.import_module(name)).items()
        if isinstance(value, str) and STATEMENT.match(value)
    }
    for node in literals(ast.parse(file.read_text())):
        if STATEMENT.match(node.value):
            named.setdefault(node.value, f"{name}, line {node.lineno}")
    for statement, where in named.items():
        found.setdefault(statement, where)
print(json.dumps({where: statement for statement, where in found.items()}))
'''


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def unpack(commit: str, folder: Path, *packages: str) -> None:
    """The files of a commit, without touching the checkout."""
    with tarfile.open(fileobj=BytesIO(git("archive", commit, *packages))) as archive:
        archive.extractall(folder, filter="data")


def collected(folder: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", COLLECT], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    return dict(json.loads(done.stdout))


def copy(files: Iterable[Path], target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for file in sorted(files):
        shutil.copyfile(file, target / file.name)


def freeze(commit: str) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        known = git("ls-tree", "--name-only", commit).decode().split()
        unpack(commit, folder, *PACKAGES, *(name for name in LINKS if "relaykit" in known))
        blocks = [f"{NAME}{where}\n{text.strip()};\n" for where, text in collected(folder).items()]
        STATEMENTS.write_text("\n".join([HEADER, *blocks]))
        copy(next((folder / "shared").rglob("migrations")).glob("*.sql"), MIGRATIONS)
        copy((file for package in PACKAGES for file in (folder / package).rglob("*.lua")), LUA)
    COMMIT.write_text(git("rev-parse", f"{commit}^{{commit}}").decode())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    freeze(sys.argv[1])
