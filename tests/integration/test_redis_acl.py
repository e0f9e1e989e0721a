"""The Redis user of docs/security.md: the product runs as that user, who may do nothing that it does not need."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import redis
from redis.asyncio import Redis

from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.local.data_directory import data_directory
from relaykit.local.redis_server import redis_server
from relaykit.local.waiting import StopRequest
from relaykit.operator_commands.services import opened_services
from relaykit.shared.clocks import REDIS
from relaykit.shared.journal import START
from relaykit.shared.journal.times import JournalTimes
from relaykit.shared.metrics import REDIS_FAILURES
from relaykit.shared.operating.run_holders import RunHolders
from relaykit.shared.owner import Owner
from relaykit.shared.queue.fair_share import flow_of
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import open_redis
from relaykit.shared.redis.keys import Names
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.support.clients.stream_clients import asking, crowd, following
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.services.databases import Databases, open_folder
from tests.support.services.redis_sentinels import MASTER, sentinel, sentinel_url
from tests.support.system import (
    ROOT,
    START_SECONDS,
    Caller,
    _working,
    create,
    free_port,
    make_settings,
    message,
    running,
    start_process,
    wait_until,
)

HOLD = 3
UNUSED: dict[str, str] = {}
"""Commands of the line that no run of this test has to use, each with its reason."""


def documented_line() -> list[str]:
    """The words of the line in docs/security.md."""
    (block,) = re.findall(
        r"^ACL SETUSER relaykit [^`]*", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE
    )
    return str(block).split()


def line_of(deployment: str) -> list[str]:
    """With the patterns that a deployment of this name has instead, as docs/security.md says."""
    words = documented_line()
    if not deployment:
        return words
    others = [word for word in words if not word.startswith(("~", "&"))]
    return [*others, f"~{deployment}:*", f"&{deployment}:*"]


def allowed_commands() -> set[str]:
    """`script|load` as `script`: Redis 6.2 counts the command alone."""
    return {word[1:].partition("|")[0] for word in documented_line() if word.startswith("+")}


@dataclass
class Life:
    """What Redis knows after the product has run as the user."""

    denied: list[str] = field(default_factory=list)
    """What to add to the line, one for each thing that the user was refused."""
    used: set[str] = field(default_factory=set)
    failure: BaseException | None = None


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """A Redis server of this module alone, as its administrator."""
    folder = open_folder("relaykit-acl-")
    try:
        with (
            data_directory(folder) as directory,
            redis_server(directory, StopRequest(), durable=False) as (_, url),
        ):
            yield url
    finally:
        shutil.rmtree(folder)


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[("", False), ("shop", False), ("", True)],
    ids=["unnamed", "named", "by a sentinel"],
)
async def life(
    request: pytest.FixtureRequest,
    server_url: str,
    databases: Databases,
    issuer_key_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Life]:
    found, (deployment, has_sentinel) = Life(), request.param
    password = "a-password-of-the-tests"
    async with Redis.from_url(server_url, decode_responses=True) as admin:
        words = [f">{password}" if word == ">PASSWORD" else word for word in line_of(deployment)]
        await admin.execute_command(*words)
        await admin.execute_command("ACL", "LOG", "RESET")
        await admin.config_resetstat()
        with databases.fresh() as database_url, ExitStack() as stack:
            url = re.sub(r"//.*@", f"//relaykit:{password}@", server_url)
            if has_sentinel:
                url = await through_a_sentinel(stack, url, server_url, tmp_path_factory.mktemp("sentinel"))
            settings = make_settings(
                url,
                database_url,
                issuer_key_file,
                free_port(),
                lease_seconds=4,
                abandon_seconds=4,
                drain_seconds=0.1,
                journal_max_entries=100,
                deployment=deployment,
            )
            try:
                await live(settings, admin, tmp_path_factory.mktemp("acl"))
            except (Exception, asyncio.CancelledError) as error:
                found.failure = error
        found.denied = [missing(entry) for entry in await admin.execute_command("ACL", "LOG", "128")]
        statistics = await admin.info("commandstats")
        found.used = {name.removeprefix("cmdstat_").partition("|")[0] for name in statistics}
    yield found


async def through_a_sentinel(stack: ExitStack, url: str, server_url: str, folder: Path) -> str:
    """The same user's URL by a sentinel, which itself is the administrator."""
    server = urlsplit(server_url)
    assert server.port
    one = stack.enter_context(sentinel(folder, server.port, f"sentinel auth-pass {MASTER} {server.password}"))
    await wait_until("the sentinel answers", one.answers)
    sign_in, _, _ = urlsplit(url).netloc.rpartition("@")
    return sentinel_url(one.port).replace("//", f"//{sign_in}@")


def missing(entry: Any) -> str:
    """What an entry of ACL LOG says that the line lacks."""
    if not isinstance(entry, dict):
        entry = dict(zip(entry[::2], entry[1::2], strict=True))
    sign = {"command": "+", "key": "~", "channel": "&"}.get(entry["reason"], entry["reason"] + " ")
    return f"{sign}{entry['object']}"


async def live(settings: Settings, admin: Redis, folder: Path) -> None:
    """All that API and workers do with Redis, and with the loss of it and of each other."""
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(running(settings, ScriptedAnswers, workers=0))
        alice = await crowd(system, await system.caller())
        forgotten = await accepted_and_lost(alice, admin)
        first = await stack.enter_async_context(AsyncExitStack())
        await attempt_of_a_killed_worker(first, settings, alice, folder)
        await resumed_and_followed(alice, folder)
        await stopped(alice, folder)
        await abandoned(alice, folder)
        await lease_taken_again(alice, admin, folder, Names(settings.deployment))
        await handed_back(stack, settings, alice, folder, first)
        await one_at_a_time(settings)
        await operated(settings, alice)
        shown = await wait_until("the reaper has queued the run again", lambda: ended(alice, forgotten))
        assert shown["status"] == "completed"


async def operated(settings: Settings, alice: Caller) -> None:
    """All that an operator's commands ask of Redis."""
    async with (
        opened_services(settings) as services,
        open_redis(settings.redis_url, connections=1, deployment=settings.deployment) as client,
    ):
        services.need()
        run_id = (await alice.stream(create(str(Script())))).run_id
        await services.figures.ask()
        await services.holders.of([run_id])
        await services.holders.job(run_id)
        await services.holders.followers(run_id)
        await services.reader.events(run_id, START, 10, content=False)
        await services.holders.attempts(run_id, 2)
        await services.figures.busiest(10)
        await services.clocks.look()
        assert services.clocks.offsets[REDIS] is not None
        [worker, *_] = await services.registry.workers()
        await services.registry.register(replace(worker, id="killed"), 0.001)

        async def is_silent() -> bool:
            return "killed" in {each.state.id for each in await services.registry.silent()}

        await wait_until("the worker is silent", is_silent)
        times = JournalTimes(client)
        await times.of(run_id)
        await services.acts.queue.signal_drain("nobody")
        await services.acts.queue.signal_cancel(run_id, 1)
        flow = flow_of(settings, Owner(tenant="", user_id="alice"), None)
        for seconds in (0.0, 1.0):
            await services.acts.queue.requeue(run_id, flow, take_seconds=seconds)
        await services.acts.queue.discard(run_id, flow)
        assert worker.id


async def accepted_and_lost(alice: Caller, admin: Redis) -> str:
    """A run whose job is gone before a worker is there; the reaper finds its row."""
    async with asking(alice, create(str(Script()))) as asker:
        await asker.until("accepted", lambda answer: answer.of_type("thread.created"))
        run_id = asker.run_id
    await admin.flushdb()
    return run_id


async def attempt_of_a_killed_worker(
    stack: AsyncExitStack, settings: Settings, alice: Caller, folder: Path
) -> None:
    given = {"CHATKIT_SERVER": "tests.support.servers.relay_servers:ScriptedAnswers"}
    process = start_process("worker", settings, folder / "worker.log", **given)
    try:
        async with asking(alice, create(held(folder / "lost", hold_attempts=1))) as asker:
            await wait_until(
                "a worker has begun the run, or ended",
                lambda: process.popen.poll() is not None or (asker.response and is_mid_answer(asker.answer)),
                START_SECONDS,
            )
            assert process.popen.poll() is None, process.output
            process.kill()
            await stack.enter_async_context(_working(create_worker(settings, ScriptedAnswers())))
            answer = await asker.finished()
        assert (answer.end, (await alice.get(f"/runs/{answer.run_id}")).json()["attempt"]) == ("completed", 2)
    finally:
        process.kill()


async def resumed_and_followed(alice: Caller, folder: Path) -> None:
    """From a cursor, by two at once; through a journal that is cut at its limit; again after the end."""
    async with asking(alice, create(held(folder / "followed"))) as asker:
        await asker.until("mid-answer", is_mid_answer)
        async with following(alice, asker.run_id, asker.answer.frames[-1][0]) as second:
            open_gate(folder / "followed", HOLD)
            assert (await second.finished()).end == "completed"
        answer = await asker.finished()
    assert (await alice.resume(answer.run_id, answer.frames[1][0])).end == "completed"
    long = await alice.stream(create(str(Script(deltas=400))))
    assert (await alice.resume(long.run_id, "0-1")).status == 410


async def stopped(alice: Caller, folder: Path) -> None:
    """By the user: the run that is under way, and the one that waits behind it."""
    async with asking(alice, create(held(folder / "stopped"))) as asker:
        await asker.until("mid-answer", is_mid_answer)
        async with asking(alice, message(asker.answer.thread_id, "next")) as waiting:
            await waiting.until("accepted", lambda answer: answer.frames)
            assert (await alice.cancel(waiting.run_id)).status_code == 202
            assert (await waiting.finished()).end == "cancelled"
        assert (await alice.cancel(asker.run_id)).status_code == 202
        assert (await asker.finished()).end == "cancelled"


async def abandoned(alice: Caller, folder: Path) -> None:
    async with asking(alice, create(held(folder / "abandoned"))) as asker:
        await asker.until("mid-answer", is_mid_answer)
        run_id = asker.run_id
    shown = await wait_until("the run that no client follows has ended", lambda: ended(alice, run_id))
    assert shown["error"] == "abandoned"


async def lease_taken_again(alice: Caller, admin: Redis, folder: Path, named: Names) -> None:
    """After Redis was emptied under a run."""
    async with asking(alice, create(held(folder / "emptied"))) as asker:
        await asker.until("mid-answer", is_mid_answer)
        await admin.delete(named(keys.lease(asker.run_id)))

        async def is_held() -> bool:
            return bool(await admin.pttl(named(keys.lease(asker.run_id))) > 0)

        await wait_until("the heartbeat has taken the lease again", is_held)
        open_gate(folder / "emptied", HOLD)
        assert (await asker.finished()).end == "completed"


async def handed_back(
    stack: AsyncExitStack, settings: Settings, alice: Caller, folder: Path, first: AsyncExitStack
) -> None:
    """By a worker that drains; another one begins the run anew."""
    async with asking(alice, create(held(folder / "handed", hold_attempts=1))) as asker:
        await asker.until("mid-answer", is_mid_answer)
        await stack.enter_async_context(_working(create_worker(settings, ScriptedAnswers())))
        await first.aclose()
        assert (await asker.finished()).end == "completed"


async def one_at_a_time(settings: Settings) -> None:
    """The locks of an admission into a store that is not ours, and of an action that is answered at once."""
    async with open_redis(settings.redis_url, connections=1, deployment=settings.deployment) as client:
        queue, owner = AdmissionQueue(client), Owner(tenant="", user_id="caller")
        async with queue.idempotency_lock(owner, "key"), queue.widget_lock(owner, "thread", "item"):
            pass


def held(gate: Path, **more: Any) -> str:
    gate.mkdir()
    return str(Script(gate=str(gate), holds=[HOLD], **more))


def is_mid_answer(answer: Any) -> bool:
    return len(answer.of_type("thread.item.updated")) >= HOLD


async def ended(caller: Caller, run_id: str) -> dict[str, Any] | None:
    shown = (await caller.get(f"/runs/{run_id}")).json()
    return shown if shown["status"] not in ("queued", "running") else None


@pytest.mark.asyncio(loop_scope="module")
async def test_the_product_runs_as_the_documented_user_who_is_refused_nothing(life: Life) -> None:
    assert not life.denied, (
        "the line in docs/security.md lacks " + " ".join(sorted(set(life.denied))) + f"\n{life.failure!r}"
    )
    if life.failure is not None:
        raise life.failure


@pytest.mark.asyncio(loop_scope="module")
async def test_the_documented_user_may_do_nothing_that_the_product_does_not_do(life: Life) -> None:
    """A sentinel's own commands are counted too; by one, this holds the weaker."""
    if life.failure is not None:
        pytest.fail(f"the product did not run as the user: {life.failure!r}")
    unused = allowed_commands() - life.used - UNUSED.keys()
    assert not unused, f"take out of the line in docs/security.md: {sorted(unused)}"


def test_every_command_of_the_scripts_is_in_the_line() -> None:
    """All that are missing at once; a run stops at the first."""
    called = {
        command.lower()
        for side in ("api", "worker", "shared")
        for file in (ROOT / side).rglob("*.lua")
        for command in re.findall(
            r"""(?:p?call|of_all)\(\s*['"]([A-Z]+)['"]""", file.read_text(), re.IGNORECASE
        )
    }
    assert called
    lacking = sorted(called - allowed_commands())
    assert not lacking, "add to the line in docs/security.md: " + " ".join(f"+{name}" for name in lacking)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "command",
    [("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("GET", "other"), ("PUBLISH", "other", "x")],
)
async def test_the_documented_user_may_not_do_anything_else(
    life: Life, server_url: str, command: tuple[str, ...]
) -> None:
    url = re.sub(r"//.*@", "//relaykit:a-password-of-the-tests@", server_url)
    async with Redis.from_url(url, lib_name=None, lib_version=None) as client:
        with pytest.raises(redis.exceptions.NoPermissionError):
            await client.execute_command(*command)


async def test_a_user_that_may_not_count_followers_is_asked_once_and_redis_is_not_away(
    server_url: str,
) -> None:
    """Else a run's page that is watched would fire the alert of a Redis that is away."""
    words = [word for word in documented_line() if word != "+pubsub|numsub"]
    words = [
        {"relaykit": "narrow", ">PASSWORD": ">a-password-of-the-tests"}.get(word, word) for word in words
    ]
    async with Redis.from_url(server_url, decode_responses=True) as admin:
        await admin.execute_command(*words)
        await admin.execute_command("ACL", "LOG", "RESET")
        url = re.sub(r"//.*@", "//narrow:a-password-of-the-tests@", server_url)
        before = failures()
        async with open_redis(url, connections=1) as narrow:
            holders = RunHolders(narrow)
            assert [await holders.followers("run_x") for _ in range(3)] == [None] * 3
        assert failures() == before
        [entry] = await admin.execute_command("ACL", "LOG", "128")
        if not isinstance(entry, dict):
            entry = dict(zip(entry[::2], entry[1::2], strict=True))
        assert (missing(entry), entry["count"]) == ("+pubsub|numsub", 1)


def failures() -> float:
    return sum(sample.value for metric in REDIS_FAILURES.collect() for sample in metric.samples)
