"""A burst of the same failure is ten lines and a count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import structlog

from relaykit.shared import log_bursts
from relaykit.shared.log_bursts import LINES_AT_ONCE, Bursts
from tests.support.system import wait_until

Line = Callable[..., None]


class Log:
    """A logger with bursts of its own, and what comes out of it."""

    def __init__(self, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out: list[dict[str, Any]] = []
        bursts = Bursts(seconds)

        def keep(_: Any, level: str, event: structlog.typing.EventDict) -> str:
            self.out.append({"level": level, **event})
            raise structlog.DropEvent

        self._logger = structlog.wrap_logger(
            None, processors=[bursts, keep], wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        monkeypatch.setattr(log_bursts, "log", self._logger)

    def __call__(self, level: str = "warning", **event: Any) -> None:
        getattr(self._logger, level)("it failed: it is tried again", **event)

    def counted(self) -> list[dict[str, Any]]:
        return [line for line in self.out if line["action"] == "lines_left_out"]


async def test_the_first_lines_come_and_the_others_are_counted_though_nothing_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Log(0.3, monkeypatch)
    for number in range(LINES_AT_ONCE + 25):
        log(action="lease_renew", cause_code="OOM", run_id=number)
    assert [line["run_id"] for line in log.out] == list(range(LINES_AT_ONCE))
    await wait_until("what was left out is told", log.counted)
    [line] = log.counted()
    assert (line["of"], line["code"], line["count"]) == ("lease_renew", "OOM", 25)


def test_another_failure_and_what_is_none_are_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(600, monkeypatch)
    for _ in range(LINES_AT_ONCE + 1):
        log(action="lease_renew", cause_code="OOM")
    log(action="lease_renew", cause_code="READONLY")
    log(action="lease_renew", error_type="TimeoutError")
    log(action="queue_outage", cause_code="OOM")
    assert len(log.out) == LINES_AT_ONCE + 3
    for _ in range(LINES_AT_ONCE + 1):
        log("info", action="attempt_start")
        log("critical", action="worker_blocked")
    assert len(log.out) == LINES_AT_ONCE + 3 + 2 * (LINES_AT_ONCE + 1)


def test_after_a_burst_lines_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(log_bursts.time, "monotonic", lambda: now)
    log = Log(600, monkeypatch)
    for _ in range(LINES_AT_ONCE + 5):
        log(action="queue_outage")
    now = 601.0
    log(action="queue_outage")
    assert [line["action"] for line in log.out[LINES_AT_ONCE:]] == ["lines_left_out", "queue_outage"]
    assert log.counted()[0]["count"] == 5


def test_codes_from_outside_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_bursts, "MAX_KINDS", 10)
    log = Log(600, monkeypatch)
    for number in range(100):
        log(action="queue_outage", code=f"code {number}")
    assert len(log.out) == 100
    assert len(log._logger._processors[0]._bursts) <= 10


def test_where_no_thread_can_be_started_the_next_line_tells_the_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_: object) -> None:
        raise RuntimeError("can't start new thread")

    now = 0.0
    monkeypatch.setattr(log_bursts.time, "monotonic", lambda: now)
    monkeypatch.setattr(log_bursts.threading.Timer, "start", start)
    log = Log(600, monkeypatch)
    for _ in range(LINES_AT_ONCE + 5):
        log(action="queue_outage")
    now = 601.0
    log(action="queue_outage")
    assert log.counted()[0]["count"] == 5
