"""The style of the code as failing tests: what importing may do, how long a file may be, where keys are spelt."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIDES = ("api", "worker", "shared")
FILES = sorted(file for side in SIDES for file in (ROOT / side).rglob("*.py"))
LINKED = ("api", "worker", "shared", "local", "examples")
"""Folders of relaykit/ that are links to those of the top level."""
OTHERS = sorted(
    file
    for folder in ("relaykit", "deploy/local")
    for file in (ROOT / folder).rglob("*.py")
    if file.relative_to(ROOT).parts[1] not in LINKED
)
SCRIPTS = sorted(file for side in SIDES for file in (ROOT / side).rglob("*.lua"))
MAX_LINES = 300
MAX_FUNCTION_LINES = 50
MAX_COLUMNS = 120
SELF_EXPLAINING_LINES = 10
KEY_PARTS = ("arq:", "run:{", "relaykit:")

IMPORTS = '''
"""Imports the modules that are named and tells what their own code opened, started or read while being imported."""

import importlib
import json
import os
import sys
import threading

root, modules = sys.argv[1], sys.argv[2:]
ours = tuple(os.path.join(root, "relaykit", side, "") for side in ("api", "worker", "shared"))
opening = {"open", "os.listdir", "os.scandir", "os.mkdir", "socket.__new__", "socket.getaddrinfo", "subprocess.Popen"}
found = []


def culprit():
    """The line of ours that runs now, if what happens is not the import of something by it."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib"):
            return None
        if file.startswith(ours):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def audit(event, arguments):
    if event in opening and (line := culprit()):
        found.append(f"{line}: {event}")


def watched(read):
    def reading(environ, name):
        # pydantic asks for its own switches whenever a model is defined
        if not str(name).startswith("PYDANTIC_") and (line := culprit()):
            found.append(f"{line}: environment")
        return read(environ, name)

    return reading


sys.addaudithook(audit)
os._Environ.__getitem__ = watched(os._Environ.__getitem__)
threads = threading.active_count()
for module in modules:
    importlib.import_module(module)
if threading.active_count() != threads:
    found.append("a thread was started")
print(json.dumps(found))
'''


def run_imports(root: Path, modules: list[str], *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-c", IMPORTS, str(root), *modules],
        cwd=root,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def module_name(file: Path) -> str:
    return ".".join(("relaykit", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def test_importing_any_module_opens_nothing_and_reads_no_environment():
    """Only `main` of each side wires, when it is called; an empty environment is enough to import everything."""
    done = run_imports(ROOT, [module_name(file) for file in FILES])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(
    "line",
    [
        "import os; os.environ.get('REDIS_URL')",
        "import os; os.getenv('REDIS_URL')",
        "import os; 'REDIS_URL' in os.environ",
        "from pathlib import Path; Path(__file__).read_text()",
        "import socket; socket.socket()",
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "from pydantic_settings import BaseSettings\nclass S(BaseSettings):\n    redis_url: str = ''\nS()",
    ],
)
def test_the_test_before_this_one_would_see_it(tmp_path, line):
    (tmp_path / "relaykit" / "shared").mkdir(parents=True)
    (tmp_path / "relaykit" / "shared" / "bad.py").write_text(line)
    done = run_imports(tmp_path, ["relaykit.shared.bad"])
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) >= 1


@pytest.mark.parametrize("file", [*FILES, *OTHERS], ids=module_name)
def test_no_file_is_longer_than_one_concept(file):
    assert len(file.read_text().splitlines()) <= MAX_LINES


def long_functions(tree: ast.Module) -> list[str]:
    """Functions and methods of more lines than MAX_FUNCTION_LINES, those within them included."""
    return [
        f"{node.name}, line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
    ]


@pytest.mark.parametrize("file", [*FILES, *OTHERS], ids=module_name)
def test_a_function_is_seen_at_a_glance(file):
    assert long_functions(ast.parse(file.read_text())) == []


def test_a_long_function_would_be_seen():
    text = "class C:\n  async def f(self):\n" + "    pass\n" * (MAX_FUNCTION_LINES - 1)
    assert long_functions(ast.parse(text)) == []
    assert long_functions(ast.parse(text + "    pass\n")) == ["f, line 2"]


def definitions(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Public classes and functions, and public methods but where a base class says what they promise."""
    bodies: list[list[ast.stmt]] = [tree.body]
    for body in bodies:
        for node in body:
            if (
                isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name[0] != "_"
            ):
                yield node
                if isinstance(node, ast.ClassDef) and not node.bases:
                    bodies.append(node.body)


@pytest.mark.parametrize("file", sorted((ROOT / "shared").rglob("*.py")), ids=module_name)
def test_what_both_sides_use_says_what_it_promises(file):
    """Modules, classes, and functions of more than a few lines; a shorter one is its own explanation."""
    tree = ast.parse(file.read_text())
    missing = [
        f"{node.name}, line {node.lineno}"
        for node in definitions(tree)
        if ast.get_docstring(node) is None
        and (isinstance(node, ast.ClassDef) or (node.end_lineno or 0) - node.lineno >= SELF_EXPLAINING_LINES)
    ]
    if tree.body and ast.get_docstring(tree) is None:
        missing.append("the module itself")
    assert missing == []


def strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """The string literals of a module, those of f-strings too, without its docstrings."""
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node


def test_redis_keys_and_channels_are_spelt_in_one_file():
    spelt = [
        f"{module_name(file)}, line {node.lineno}: {node.value}"
        for file in FILES
        if file.name != "keys.py"
        for node in strings(ast.parse(file.read_text()))
        if any(part in node.value for part in KEY_PARTS)
    ]
    assert spelt == []


def test_one_place_asks_whether_the_store_is_ours():
    """`UserServer`, where the server is loaded. Others ask its `extras`, or `our_store` for what only ours can do."""
    asking = [
        module_name(file) for file in FILES if re.search(r"isinstance\([^)]*PostgresStore", file.read_text())
    ]
    assert asking == ["relaykit.shared.site.user_server"]


def test_scripts_are_given_their_keys():
    """A Lua script spells no key, and its header says what it is given."""
    for script in SCRIPTS:
        text = script.read_text()
        assert not any(part in text for part in KEY_PARTS), script.name
        header = [line for line in text.splitlines() if line.startswith("--")]
        assert any("KEYS" in line for line in header), f"{script.name} says nothing of its keys"


def test_scripts_are_no_wider_than_the_code():
    """Those of Lua and of the console's page: no formatter breaks their comments and texts."""
    wide = [
        f"{file.relative_to(ROOT)}, line {number}"
        for file in [*SCRIPTS, *sorted((ROOT / "api" / "ops" / "page").glob("*.js"))]
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if len(line) > MAX_COLUMNS
    ]
    assert wide == []


def test_a_script_stands_beside_its_only_caller():
    """Its name is spelt in one module, which is in its folder."""
    callers = {
        script: [file.parent for file in FILES if re.search(rf'"{script.name}"', file.read_text())]
        for script in SCRIPTS
    }
    assert callers
    assert {script: found for script, found in callers.items() if found != [script.parent]} == {}


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_the_context_of_the_users_server_is_awaited(file):
    """Types do not say it, because a server's context may be anything: a coroutine would reach a store as one."""
    tree = ast.parse(file.read_text())
    awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
    handed_on = {id(node.body) for node in ast.walk(tree) if isinstance(node, ast.Lambda)}
    forgotten = [
        f"line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("user.context", "_user.context"))
        and id(node) not in awaited | handed_on
    ]
    assert forgotten == []
