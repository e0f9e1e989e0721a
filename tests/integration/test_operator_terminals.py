"""What the operator's commands do with the terminal and the pipes that they are given: each as a process."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest
import pytest_asyncio

from relaykit.shared.queue.worker_registry import WorkerRegistry
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.support.processes.commands import SERVER, Done
from tests.support.servers.relay_servers import ScriptedAnswers
from tests.support.system import (
    ROOT,
    START_SECONDS,
    _working,
    create,
    environment,
    keyed,
    running,
    wait_until,
)

CTRL_C = b"\x03"
ACTS = ["runs cancel", "runs retry", "runs requeue --force", "threads erase", "users erase", "workers drain"]


def acted(settings: Settings) -> int:
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM operator_acts").fetchone()
    assert row is not None
    return int(row[0])


async def typed(settings: Settings, words: bytes, *arguments: str) -> Done:
    """The command on a terminal of its own, at which this is typed once it asks, without an Enter."""
    ours, theirs = pty.openpty()

    def take_the_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "relaykit",
        *arguments,
        cwd=ROOT,
        env=environment(settings, CHATKIT_SERVER=SERVER),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=take_the_terminal,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            question = await process.stderr.readuntil(b"[y/N] ")
            os.write(ours, words)
            errors, output = await asyncio.gather(process.stderr.read(), process.stdout.read())
            status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
        os.close(theirs)
    return Done(status, output.decode(), (question + errors).decode())


@pytest_asyncio.fixture
async def targets(settings: Settings) -> AsyncIterator[Callable[[str], str]]:
    """What an act may be done to: a run that has ended, its thread, its user, and a worker."""
    async with (
        running(settings, ScriptedAnswers, workers=0) as system,
        _working(create_worker(settings, ScriptedAnswers())),
        open_redis(settings.redis_url, connections=1) as redis,
    ):
        answer = await (await system.caller()).stream(create("hello"))
        await wait_until("the worker is there", WorkerRegistry(redis).workers)
        [worker] = await WorkerRegistry(redis).workers()

        def of(act: str) -> str:
            return {
                "runs": answer.run_id,
                "threads": answer.thread_id,
                "users": "alice",
                "workers": worker.id,
            }[act.split()[0]]

        yield of


@pytest.mark.parametrize("act", ACTS)
async def test_ctrl_c_at_the_question_of_an_act_is_a_no_at_once(
    settings: Settings, targets: Callable[[str], str], act: str
) -> None:
    """No Enter is needed after it."""
    done = await typed(settings, CTRL_C, *act.split(), targets(act))
    name = " ".join(act.split()[:2])
    assert (done.status, done.output) == (2, "")
    assert done.errors.endswith(f"[y/N] \nrelaykit {name}: act_refused: Nothing was done.\n")
    assert "Traceback" not in done.errors
    assert acted(settings) == 0


@pytest.mark.parametrize("words", [b"\x04", b"\xff\xfe\n", b"yess\n", b"\n"], ids=repr)
async def test_whatever_is_typed_that_is_not_yes_is_a_no(
    settings: Settings, targets: Callable[[str], str], words: bytes
) -> None:
    """Ctrl-D, what is no text, and another word."""
    done = await typed(settings, words, "users", "erase", targets("users"))
    assert (done.status, done.output) == (2, "")
    assert done.errors.endswith("relaykit users erase: act_refused: Nothing was done.\n")
    assert acted(settings) == 0


@pytest.mark.parametrize(
    ("command", "name", "output"),
    [
        ("users erase alice", "users erase", b""),
        ("runs retry --yes run_1", "runs retry", b""),
        ("check", "check", f"settings: ok\nserver: ok ({SERVER}, a ScriptedAnswers)\n".encode()),
    ],
)
async def test_ctrl_c_before_the_question_ends_the_command(
    settings: Settings, command: str, name: str, output: bytes
) -> None:
    """While PostgreSQL, which takes connections and says nothing, is waited for. Nothing else is said."""
    async with silent_port() as (port, connected):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "relaykit", *command.split()),
            cwd=ROOT,
            env=environment(settings, CHATKIT_SERVER=SERVER, DATABASE_URL=f"postgresql://127.0.0.1:{port}/x"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(START_SECONDS):
            await connected.wait()
            process.send_signal(signal.SIGINT)
            said, errors = await process.communicate()
    assert (process.returncode, said, errors) == (1, output, f"relaykit {name}: stopped\n".encode())


@asynccontextmanager
async def silent_port() -> AsyncIterator[tuple[int, asyncio.Event]]:
    connected = asyncio.Event()
    writers = []

    def on_connection(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connected.set()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], connected
    finally:
        for writer in writers:
            writer.close()
        server.close()


READS = [
    "runs list",
    "runs list --json",
    "runs show RUN",
    "runs events RUN",
    "threads show THREAD",
    "threads export THREAD",
    "users export alice",
    "workers list",
    "queue",
    "status",
]
LONG_READS = ["runs list --json --limit 1000", "threads export THREAD", "users export alice"]
MANY_RUNS = """
INSERT INTO runs OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(runs, jsonb_build_object('id', 'run_' || n, 'seq', seq + n))).*
FROM runs, generate_series(1, 500) AS n
"""
MANY_ITEMS = """
INSERT INTO items OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(items, jsonb_build_object('id', 'msg_' || n, 'seq', seq + 10 + n))).*
FROM items, generate_series(1, 500) AS n WHERE id = (SELECT id FROM items LIMIT 1)
"""


@pytest_asyncio.fixture
async def chat(settings: Settings) -> Callable[[str], list[str]]:
    """Names a thread and its run, which has ended, in a command."""
    async with running(settings, ScriptedAnswers) as system:
        answer = await (await system.caller()).stream(create("hello"))
    return lambda line: line.replace("RUN", answer.run_id).replace("THREAD", answer.thread_id).split()


async def read_a_little(settings: Settings, arguments: list[str], *, bytes_read: int, stream: str) -> Done:
    """The stream's reader reads so many bytes, and goes; before the command begins, where it is none."""
    ours, theirs = os.pipe()
    if not bytes_read:
        os.close(ours)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "relaykit", *arguments),
        cwd=ROOT,
        env=environment(settings, CHATKIT_SERVER=SERVER),
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: theirs},
    )
    os.close(theirs)
    try:
        async with asyncio.timeout(START_SECONDS):
            if bytes_read:
                await asyncio.to_thread(os.read, ours, bytes_read)
                os.close(ours)
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Done(process.returncode, (output or b"").decode(), (errors or b"").decode())


@pytest.mark.parametrize("reading", READS)
async def test_a_reader_that_has_gone_ends_a_command_without_a_word(
    settings: Settings, chat: Callable[[str], list[str]], reading: str
) -> None:
    done = await read_a_little(settings, chat(reading), bytes_read=0, stream="stdout")
    assert (done.status, done.errors) == (0, "")


@pytest.mark.parametrize("reading", LONG_READS)
async def test_a_reader_that_goes_in_the_midst_ends_a_command_without_a_word(
    settings: Settings, chat: Callable[[str], list[str]], reading: str
) -> None:
    """More than a pipe holds, so that the command is still writing: `relaykit runs list | head -1`."""
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute(MANY_RUNS)
        connection.execute(MANY_ITEMS)
    done = await read_a_little(settings, chat(reading), bytes_read=10, stream="stdout")
    assert (done.status, done.errors) == (0, "")


async def test_nobody_has_to_read_what_is_said_of_an_act(
    settings: Settings, chat: Callable[[str], list[str]]
) -> None:
    """Of two acts the first is refused, and whoever read that has gone: the second is done all the same."""
    async with (
        running(settings, ScriptedAnswers, workers=0) as system,
        (await system.caller()).open_stream(create("again"), keyed("2")) as response,
    ):
        queued = response.headers["x-run-id"]
    cancelling = [*chat("runs cancel RUN"), queued, "--yes"]
    done = await read_a_little(settings, cancelling, bytes_read=0, stream="stderr")
    assert (done.status, done.output) == (2, f"{queued}: cancelled\n")
    unheard = await read_a_little(settings, ["runs", "show", "run_none"], bytes_read=0, stream="stderr")
    assert (unheard.status, unheard.output) == (2, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
async def test_a_command_works_whichever_of_its_streams_is_closed(
    settings: Settings, chat: Callable[[str], list[str]], closed: str
) -> None:
    """The number of a closed one would be that of its connection to PostgreSQL."""
    words = " ".join(chat("runs show RUN"))
    process = await asyncio.create_subprocess_exec(
        "bash",
        *("-c", f'"{sys.executable}" -m relaykit {words} {closed}; exit $?'),
        cwd=ROOT,
        env=environment(settings, CHATKIT_SERVER=SERVER),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(START_SECONDS):
        output, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert output.startswith(b"run: ") == (" >&-" not in f" {closed}")


async def test_nobody_can_be_asked_without_an_input(
    settings: Settings, chat: Callable[[str], list[str]]
) -> None:
    words = " ".join(chat("threads erase THREAD"))
    process = await asyncio.create_subprocess_exec(
        "bash",
        *("-c", f'"{sys.executable}" -m relaykit {words} <&-; exit $?'),
        cwd=ROOT,
        env=environment(settings, CHATKIT_SERVER=SERVER),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(START_SECONDS):
        output, errors = await process.communicate()
    assert (process.returncode, output, errors.count(b"\n")) == (2, b"", 1)
    assert b"--yes does it" in errors
    assert acted(settings) == 0


async def test_a_command_ends_before_its_interpreter_takes_itself_apart(
    settings: Settings, chat: Callable[[str], list[str]]
) -> None:
    """The object store's threads would abort it then, now and then: status 134 after work that was done."""
    script = (
        "import os; held = type('Held', (), {'__del__': lambda self, end=os._exit: end(77)})(); "
        "from relaykit.cli import entry_point; entry_point()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", script, *chat("runs show RUN")),
        cwd=ROOT,
        env=environment(settings, CHATKIT_SERVER=SERVER),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    async with asyncio.timeout(START_SECONDS):
        output, _ = await process.communicate()
    assert (process.returncode, output[:5]) == (0, b"run: ")
