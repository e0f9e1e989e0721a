"""What keeps a process from starting is told in one line, and it ends: it neither waits nor shows a traceback."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from relaykit.api.main import create_app
from relaykit.shared.errors import (
    DatabaseUnavailable,
    QueueUnavailable,
    RelaykitError,
    SchemaOutdated,
    ServerLoadError,
    SettingsError,
)
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import ROOT, START_SECONDS, WAIT_SECONDS, environment, free_port, make_settings

SIDES = ("api", "worker")
SERVER = """
from chatkit.server import ChatKitServer

class Site(ChatKitServer):
    async def respond(self, thread, item, context):
        return
        yield
"""

LOADS: dict[str, tuple[str, dict[str, str], str]] = {
    "no colon": ("", {"chatkit_server": "our_site"}, "must be of the form package.module:attribute"),
    "no attribute": ("", {"chatkit_server": "our_site:"}, "must be of the form package.module:attribute"),
    "no module": ("", {"chatkit_server": ":Site"}, "must be of the form package.module:attribute"),
    "an absent module": ("", {"chatkit_server": "our_sight:Site"}, "No module named 'our_sight'"),
    "an absent package": ("", {"chatkit_server": "our.site:Site"}, "No module named 'our'"),
    "a relative module": ("", {"chatkit_server": ".our_site:Site"}, "TypeError"),
    "an import that fails": ("import no_such_library", {}, "No module named 'no_such_library'"),
    "a syntax error": ("class Site(:", {}, "SyntaxError: invalid syntax (our_site.py, line 1)"),
    "an exception at import": (
        "import os\nraise RuntimeError('Geheim7391\\nsecond line')",
        {},
        "RuntimeError at {folder}/our_site.py:2 in <module>",
    ),
    "an exit": ("import sys; sys.exit('Geheim7391')", {}, "SystemExit at {folder}/our_site.py:1 in <module>"),
    "an interrupt": (
        "raise KeyboardInterrupt",
        {},
        "KeyboardInterrupt at {folder}/our_site.py:1 in <module>",
    ),
    "a panic": (
        "class Panic(BaseException): pass\nraise Panic('Geheim7391')",
        {},
        "Panic at {folder}/our_site.py:2 in <module>",
    ),
    "a constructor that panics": (
        f"{SERVER}\n    def __init__(self, store): raise BaseExceptionGroup('Geheim7391', [GeneratorExit()])",
        {},
        "BaseExceptionGroup at {folder}/our_site.py:9 in __init__",
    ),
    "a store that takes no other's place": (
        f"{SERVER}\n    @property\n    def store(self): return None"
        "\n    def __init__(self): self.attachment_store = None",
        {},
        "AttributeError",
    ),
    "a constructor that starts a task": (
        f"{SERVER}\n    def __init__(self, store):\n        import asyncio\n        async def f(): pass"
        "\n        self.task = asyncio.create_task(f())",
        {},
        "RuntimeError at {folder}/our_site.py:12 in __init__: no event loop runs while the server is loaded",
    ),
    "an import that a module refuses": (
        "raise ImportError('Geheim7391')",
        {},
        "ImportError at {folder}/our_site.py:1 in <module>",
    ),
    "an attribute that a module refuses": (
        "def __getattr__(name): raise ValueError('Geheim7391')",
        {},
        "ValueError at {folder}/our_site.py:1 in __getattr__",
    ),
    "an absent attribute": (SERVER, {"chatkit_server": "our_site:Sight"}, "has no attribute 'Sight'"),
    "an absent attribute within": (
        SERVER,
        {"chatkit_server": "our_site:Site.server"},
        "has no attribute 'server'",
    ),
    "a number": ("Site = 3", {}, "is neither a ChatKitServer nor callable"),
    "nothing": ("Site = None", {}, "is neither a ChatKitServer nor callable"),
    "a module": ("import json as Site", {}, "is neither a ChatKitServer nor callable"),
    "another class": ("class Site: pass", {}, "gave a Site instead of a ChatKitServer"),
    "a factory of nothing": ("def Site(store): pass", {}, "gave a NoneType instead of a ChatKitServer"),
    "a factory of a class": (
        f"{SERVER}\ndef make(): return Site",
        {"chatkit_server": "our_site:make"},
        "gave a",
    ),
    "a lifespan that is absent": (
        SERVER,
        {"chatkit_lifespan": "our_site:life"},
        "'our_site' has no attribute 'life'",
    ),
    "a lifespan that cannot be called": (
        f"{SERVER}\nlife = 3",
        {"chatkit_lifespan": "our_site:life"},
        "is not callable",
    ),
    "a lifespan that does not yield": (
        f"{SERVER}\nasync def life(process): pass",
        {"chatkit_lifespan": "our_site:life"},
        "has no `yield`: it has to be an async context manager",
    ),
    "a lifespan that is not async": (
        f"{SERVER}\ndef life(process): yield",
        {"chatkit_lifespan": "our_site:life"},
        "is a generator without `async`",
    ),
    "a lifespan that takes nothing": (
        f"{SERVER}\nasync def life(): yield",
        {"chatkit_lifespan": "our_site:life"},
        "called with the SiteProcess: too many positional arguments",
    ),
    "a class without respond()": (
        "from chatkit.server import ChatKitServer\nclass Site(ChatKitServer): pass",
        {},
        "abstract",
    ),
    "a constructor that raises": (
        f"{SERVER}\n    def __init__(self, store): raise KeyError('Geheim7391\\nis not set')",
        {},
        "KeyError at {folder}/our_site.py:9 in __init__",
    ),
    "a constructor that a library refuses": (
        f"{SERVER}\n    def __init__(self, store):\n        import httpx2"
        "\n        httpx2.Client(base_url='http://user:Geheim7391@host:port')",
        {},
        "InvalidURL at {folder}/our_site.py:11 in __init__",
    ),
    "a factory that raises": (
        "def Site(store): raise RuntimeError('postgresql://app:Geheim7391@db')",
        {},
        "RuntimeError at {folder}/our_site.py:1 in Site",
    ),
    "a constructor that wants more": (
        f"{SERVER}\n    def __init__(self, store, model): pass",
        {},
        "missing a required argument: 'model'",
    ),
    "a constructor that calls no other": (
        f"{SERVER}\n    def __init__(self): pass",
        {},
        "does not call super().__init__(store)",
    ),
    "a constructor that sets the store alone": (
        f"{SERVER}\n    def __init__(self, store): self.store = store",
        {},
        "does not call super().__init__(store)",
    ),
    "a context without a colon": (
        SERVER,
        {"chatkit_context": "our_site"},
        "CHATKIT_CONTEXT=our_site: must be of the form",
    ),
    "an absent context": (SERVER, {"chatkit_context": "our_site:context"}, "has no attribute 'context'"),
    "a context that is no function": (
        f"{SERVER}\nuser = {{}}",
        {"chatkit_context": "our_site:user"},
        "not callable",
    ),
    "a context that yields": (
        f"{SERVER}\nasync def context(request):\n    yield request",
        {"chatkit_context": "our_site:context"},
        "CHATKIT_CONTEXT=our_site:context: it yields; return the context instead",
    ),
    "an object as a context, which yields": (
        f"{SERVER}\nclass C:\n    def __call__(self, request):\n        yield request\ncontext = C()",
        {"chatkit_context": "our_site:context"},
        "it yields; return the context instead",
    ),
    "a context that wants more": (
        f"{SERVER}\nasync def context(request, plan): pass",
        {"chatkit_context": "our_site:context"},
        "called with the RequestContext: missing a required argument: 'plan'",
    ),
    "a context that takes nothing": (
        f"{SERVER}\ndef context(): pass",
        {"chatkit_context": "our_site:context"},
        "called with the RequestContext: too many positional arguments",
    ),
    "a server with its own process()": (
        f"{SERVER}\n    async def process(self, request, context): pass",
        {},
        "it overrides process(), which Relaykit does not call: ",
    ),
    "a context of an absent module": (
        SERVER,
        {"chatkit_context": "our_context:of"},
        "No module named 'our_context'",
    ),
}


@contextmanager
def importing() -> Iterator[None]:
    """Forgets afterwards what was imported and where from."""
    path = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = path
        sys.modules.pop("our_site", None)


@pytest.mark.parametrize(("source", "names", "reason"), LOADS.values(), ids=LOADS)
@pytest.mark.parametrize("side", ["api", "worker"])
def test_a_server_that_cannot_be_loaded(
    issuer_key_file: Path, tmp_path: Path, side: str, source: str, names: dict[str, str], reason: str
) -> None:
    """One line that names the variable, its value and the reason, on either side."""
    (tmp_path / "our_site.py").write_text(source)
    given = {"app_dir": tmp_path, "chatkit_server": "our_site:Site", **names}
    settings = make_settings("redis://127.0.0.1:1", "postgresql://127.0.0.1:1/x", issuer_key_file, 1, **given)
    make: Any = create_app if side == "api" else create_worker
    with importing(), pytest.raises(ServerLoadError) as refused:
        make(settings)
    message = refused.value.message
    (variable, value) = next(iter(names.items()), ("chatkit_server", "our_site:Site"))
    assert message.startswith(f"{variable.upper()}={value}: ")
    assert reason.replace("{folder}", str(tmp_path)) in message
    assert "\n" not in message
    assert "Geheim7391" not in message


BAD_VALUES: dict[str, dict[str, str]] = {
    "FORWARD_TOKEN_KEY": {"forward_token": "true", "forward_token_key": "Geheim7391"},
    "ATTACHMENTS_URL": {"attachments_url": "ftp://Geheim7391/files", "attachments_key": "k" * 43},
    "LOCAL_ISSUER_KEY_FILE": {"local_issuer_key_file": "/nowhere/key.pem"},
    "DATABASE_URL": {"database_url": "postgresql://relaykit:Geheim7391@127.0.0.1:port/db"},
}


@pytest.mark.parametrize(
    ("variable", "side"),
    [
        *((variable, "api") for variable in BAD_VALUES),
        *((variable, "worker") for variable in BAD_VALUES if variable != "LOCAL_ISSUER_KEY_FILE"),
    ],
)
async def test_a_value_that_is_found_bad_when_it_is_used(
    settings: Settings, variable: str, side: str
) -> None:
    """Still at start: before anything is served, in one line that names the variable and shows no value."""
    changed = Settings(**{**settings.model_dump(exclude_none=True), **BAD_VALUES[variable]})
    with pytest.raises(SettingsError) as refused:
        await start(side, changed)
    assert refused.value.message.startswith(variable)
    assert "Geheim7391" not in refused.value.message
    assert "\n" not in refused.value.message


async def start(side: str, settings: Settings) -> None:
    """As far as being ready to serve."""
    if side == "worker":
        await create_worker(settings).run()
        return
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        raise AssertionError("the API has started")


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """The address of a server that takes connections and never says a word."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_a_service_that_does_not_answer(settings: Settings, silent: str) -> None:
    """It is given up after the time-out; neither side hangs."""

    async def given_up(side: str, error: type[RelaykitError], **changes: Any) -> None:
        with pytest.raises(error):
            await start(side, settings.model_copy(update=changes))

    async with asyncio.timeout(WAIT_SECONDS):
        for side in SIDES:
            await asyncio.gather(
                given_up(
                    side,
                    DatabaseUnavailable,
                    database_url=f"postgresql://{silent}/0",
                    database_timeout_seconds=1,
                ),
                given_up(side, QueueUnavailable, redis_url=f"redis://{silent}/0"),
            )


@pytest.mark.parametrize("side", SIDES)
async def test_a_service_that_is_away(settings: Settings, databases: Databases, side: str) -> None:
    """Or a database without our schema: an error of its own each, at once."""
    nobody = f"127.0.0.1:{free_port()}"
    away = [
        ({"database_url": f"postgresql://relaykit@{nobody}/none"}, DatabaseUnavailable),
        ({"redis_url": f"redis://{nobody}/0"}, QueueUnavailable),
    ]
    with databases.fresh(migrated=False) as empty_url:
        for changes, error in [*away, ({"database_url": empty_url}, SchemaOutdated)]:
            with pytest.raises(error) as refused:
                await start(side, settings.model_copy(update=changes))
            assert type(refused.value) is error
    assert "relaykit migrate" in refused.value.message


# --- as processes


@dataclass
class Ended:
    code: int
    output: str
    errors: str
    seconds: float


CODES: dict[tuple[str, str], str] = {
    ("api", "a server that cannot be loaded"): "server_not_loadable",
    ("worker", "a server that cannot be loaded"): "server_not_loadable",
    ("api", "a server with its own process()"): "server_not_loadable",
    ("worker", "a server with its own process()"): "server_not_loadable",
    ("api", "a secret header field"): "bad_setting",
    ("worker", "a secret header field"): "bad_setting",
    ("api", "two bad settings"): "bad_setting",
    ("worker", "two bad settings"): "bad_setting",
    ("api", "no database"): "database_unavailable",
    ("worker", "no Redis"): "queue_unavailable",
    ("api", "a port that is taken"): "bad_setting",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ended(
    databases: Databases,
    redis_databases: RedisDatabases,
    issuer_key_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[dict[tuple[str, str], Ended]]:
    """All processes that cannot start, each once; a few at a time."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "our_site.py").write_text("raise RuntimeError('Geheim7391\\nsecond line')")
    with (
        databases.fresh() as database_url,
        redis_databases.fresh() as redis_url,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        settings = make_settings(redis_url, database_url, issuer_key_file, free_port(), app_dir=folder)
        settings = settings.model_copy(
            update={"chatkit_server": "tests.support.servers.protocol_servers:BareServer"}
        )
        few = asyncio.Semaphore(os.cpu_count() or 1)

        async def run(side: str, changes: dict[str, str]) -> Ended:
            async with few:
                return await _end_of(side, environment(settings, **changes))

        nobody = f"127.0.0.1:{free_port()}"
        wrong = {
            "a server that cannot be loaded": {"CHATKIT_SERVER": "our_site:Site"},
            "a server with its own process()": {
                "CHATKIT_SERVER": "tests.integration.test_server_overrides:Mixed"
            },
            "a secret header field": {"CONTEXT_HEADERS": "X-Plan, Cookie"},
            "two bad settings": {"LEASE_SECONDS": "soon", "REDIS_URL": "redis://:Geheim7391@localhost:port"},
            "no database": {"DATABASE_URL": f"postgresql://relaykit:Geheim7391@{nobody}/none"},
            "no Redis": {"REDIS_URL": f"redis://:Geheim7391@{nobody}/0"},
            "a port that is taken": {"PORT": str(taken.getsockname()[1])},
        }
        started = {key: asyncio.create_task(run(key[0], wrong[key[1]])) for key in CODES}
        yield {key: await task for key, task in started.items()}


async def _end_of(side: str, env: dict[str, str]) -> Ended:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", side),
        cwd=ROOT,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        raise AssertionError(f"{side} did not end: {env}") from None
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(), errors.decode(), time.monotonic() - began)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("side", "name"), CODES)
async def test_a_process_that_cannot_start(ended: dict[tuple[str, str], Ended], side: str, name: str) -> None:
    """It ends by itself with a code that is not 0, and one line with the error's code on stderr."""
    end = ended[side, name]
    assert end.code not in (0, None)
    (line,) = end.errors.splitlines()
    assert CODES[side, name] in line
    assert "Traceback" not in end.errors + end.output
    assert "Geheim7391" not in end.errors + end.output
    assert end.output == ""


@pytest.mark.asyncio(loop_scope="module")
async def test_the_line_says_what_is_to_be_done(ended: dict[tuple[str, str], Ended]) -> None:
    """What is wrong, where."""
    for side in SIDES:
        loaded = ended[side, "a server that cannot be loaded"].errors
        assert "CHATKIT_SERVER=our_site:Site: RuntimeError at " in loaded
        assert "/our_site.py:1 in <module>" in loaded
        bad = ended[side, "two bad settings"].errors
        assert "LEASE_SECONDS" in bad
        assert "REDIS_URL" in bad
        own = ended[side, "a server with its own process()"].errors
        assert "it overrides process(), which Relaykit does not call: respond() and action() make" in own
        secret = ended[side, "a secret header field"].errors
        assert "CONTEXT_HEADERS: must not name Authorization, Proxy-Authorization or Cookie" in secret
    assert "DATABASE_URL" in ended["api", "no database"].errors
    assert "PORT" in ended["api", "a port that is taken"].errors
