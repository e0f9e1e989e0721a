"""Collaborators are made where a side is wired, and handed to whatever uses them.

A collaborator is a class that takes a connection or all settings, as a parameter of its constructor or as a field of a
dataclass, or takes another collaborator; and what holds a key. A value of one request or one run may hold
collaborators, and is made where it is needed, but not in a constructor.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIDES = ("api", "worker", "shared")
LINKED = ("api", "worker", "shared", "local", "examples")
"""Folders of relaykit/ that are links to those of the top level."""
FILES = sorted(
    file
    for folder in (*SIDES, "deploy/local", "relaykit")
    for file in (ROOT / folder).rglob("*.py")
    if folder != "relaykit" or file.relative_to(ROOT).parts[1] not in LINKED
)

CONNECTIONS = frozenset({"ArqRedis", "AsyncClient", "Database", "ObjectStore", "Redis", "Settings"})
"""What a collaborator takes: a pool of PostgreSQL, a client of Redis, of HTTP or of the object store; all settings."""
ITSELF = frozenset({"Database", "TokenBox"})
"""Collaborators by what they are: the pool, and what holds FORWARD_TOKEN_KEY."""

WIRING = frozenset(
    {
        "api/__main__.py",
        "api/loading.py",
        "api/main.py",
        "api/ops/wiring.py",
        "api/resources.py",
        "worker/main.py",
        "worker/resources.py",
        "worker/loading.py",
        "worker/quarantine/cell_process.py",
        "relaykit/check.py",
        "relaykit/operator_commands/retry.py",
        "relaykit/operator_commands/services.py",
        "relaykit/testing/site.py",
        "relaykit/thread_import/command.py",
    }
)
"""A process begins here: the API's, a worker's, a cell's, a command's; or a test's site in memory."""

WIRING_CONSTRUCTORS: dict[tuple[str, str], str] = {
    (
        "relaykit/testing/site.py",
        "Site.__post_init__",
    ): "the queue and the publisher that it makes call it back: a site in memory is API and worker at once",
}
"""Constructors that wire, each with its reason."""

ELSEWHERE: dict[tuple[str, str], str] = {
    (
        "shared/attachments/store.py",
        "open_attachment_objects",
    ): "called by the wiring of both sides",
    (
        "shared/attachments/store.py",
        "build_attachment_store",
    ): "called by the wiring of both sides",
    (
        "worker/keeper/keeper.py",
        "Keeper.work",
    ): "the keeper's thread has a loop of its own, and connections belong to a loop: this wires that thread",
    (
        "worker/quarantine/quarantine.py",
        "Quarantine._open",
    ): "a cell is a process: one is made for each, when a suspect comes",
}
"""Functions outside the wiring that make a collaborator, each with its reason. No constructor may stand here."""


@dataclass(frozen=True, slots=True)
class Construction:
    """A call of a class, in a function of a file; `Class.method`, or an empty string at the top of a module."""

    file: str
    function: str
    line: int
    name: str

    @property
    def is_in_constructor(self) -> bool:
        """Also in the body of a class, where a field has its default."""
        method = self.function.rpartition(".")[2]
        return method in ("__init__", "__post_init__", "__new__") or method[:1].isupper()


@dataclass
class Code:
    """What is read of the files: by the name of each class what it takes, and each call of a name."""

    takes: dict[str, set[str]] = field(default_factory=dict)
    calls: list[Construction] = field(default_factory=list)

    def read(self, file: str, text: str) -> None:
        before = len(self.calls)
        module = ast.parse(text)
        for node in module.body:
            self._read(file, "", node)
        errors = set(imported_errors(module))
        self.calls[before:] = [call for call in self.calls[before:] if call.name not in errors]

    def _read(self, file: str, inside: str, node: ast.AST) -> None:
        if isinstance(node, ast.ClassDef):
            self.takes.setdefault(node.name, set()).update(taken_by(node))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inside = f"{inside}.{node.name}".lstrip(".")
        if isinstance(node, ast.Call) and (name := called_name(node.func)) is not None:
            self.calls.append(Construction(file, inside, node.lineno, name))
        for child in ast.iter_child_nodes(node):
            self._read(file, inside, child)

    def process_wide(self) -> set[str]:
        """The collaborators that a process has once: they take a connection or the settings themselves."""
        return ITSELF | {name for name, taken in self.takes.items() if taken & CONNECTIONS}

    def collaborators(self) -> set[str]:
        """Those, and what takes one of those, and so on."""
        found = self.process_wide()
        while more := {name for name, taken in self.takes.items() if taken & found} - found:
            found |= more
        return found


def imported_errors(module: ast.Module) -> Iterator[str]:
    """The names of errors, one of which is also that of a collaborator."""
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("relaykit.shared.errors"):
            yield from (alias.asname or alias.name for alias in node.names)


def taken_by(node: ast.ClassDef) -> Iterator[str]:
    """The names in the annotations of the constructor's parameters, and of a dataclass's fields."""
    is_dataclass = any(called_name(each) == "dataclass" for each in map(decorator, node.decorator_list))
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            arguments = member.args
            for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                yield from names_in(argument.annotation)
        elif isinstance(member, ast.AnnAssign) and is_dataclass:
            yield from names_in(member.annotation)


def decorator(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def called_name(node: ast.expr) -> str | None:
    """The class of `Class(...)`, `module.Class(...)` and `Class.of(...)`."""
    if isinstance(node, ast.Name):
        return node.id
    if not isinstance(node, ast.Attribute):
        return None
    if isinstance(node.value, ast.Name) and node.value.id[:1].isupper():
        return node.value.id
    return node.attr


def names_in(annotation: ast.expr | None) -> Iterator[str]:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    for node in ast.walk(annotation) if annotation is not None else ():
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


@pytest.fixture(scope="module")
def code() -> Code:
    read = Code()
    for file in FILES:
        read.read(str(file.relative_to(ROOT)), file.read_text())
    return read


def made_in_constructors(code: Code) -> list[Construction]:
    collaborators = code.collaborators()
    return [
        call
        for call in code.calls
        if call.name in collaborators
        and call.is_in_constructor
        and (call.file, call.function) not in WIRING_CONSTRUCTORS
    ]


def made_elsewhere(code: Code) -> list[Construction]:
    collaborators = code.process_wide()
    return [call for call in code.calls if call.name in collaborators and call.file not in WIRING]


def test_no_constructor_makes_a_collaborator(code: Code) -> None:
    """The wiring hands it in, so that a test may hand in another one, and a reader sees all of them in one place."""
    assert made_in_constructors(code) == []


def test_only_the_wiring_makes_what_a_process_has_once(code: Code) -> None:
    found = {(call.file, call.function): call for call in made_elsewhere(code)}
    assert [call for place, call in found.items() if place not in ELSEWHERE] == []
    assert sorted(set(ELSEWHERE) - set(found)) == [], "no longer needed"


def test_the_files_of_the_wiring_are_there(code: Code) -> None:
    assert {call.file for call in code.calls if call.name in code.collaborators()} >= WIRING


def test_the_rule_knows_the_collaborators(code: Code) -> None:
    """So that a class whose annotations are written in another way is missed here first."""
    assert code.process_wide() >= {
        "Admission", "ArqWorker", "Authenticator", "Endings", "Executor", "Hub", "Journals", "Keeper",
        "Publisher", "Reaper", "Runs", "TokenBox",
    }  # fmt: skip
    assert "PostgresStore" in code.collaborators()


@pytest.mark.parametrize(
    "text",
    [
        "class S:\n    def __init__(self, redis: Redis):\n        self.inner = Inner(redis)",
        "class S:\n    def __init__(self, redis: 'Redis | None'):\n        self.inner = module.Inner(redis)",
        "class S:\n    def __init__(self):\n        self.inner = Inner.of(None)",
        "@dataclass\nclass S:\n    inner: Inner = Inner(None)",
        "@dataclass(slots=True)\nclass S:\n    def __post_init__(self):\n        self.inner = [Inner(None)]",
        "class S:\n    def __init__(self):\n        self.outer = Outer(None)",
    ],
)
def test_a_constructor_that_makes_one_would_be_seen(text: str) -> None:
    code = Code()
    code.read("inner.py", "class Inner:\n    def __init__(self, redis: Redis): ...")
    code.read("outer.py", "@dataclass\nclass Outer:\n    inner: Inner")
    assert made_in_constructors(code) == []
    code.read("bad.py", text)
    assert [call.file for call in made_in_constructors(code)] == ["bad.py"]
