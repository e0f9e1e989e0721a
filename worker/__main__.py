"""`relaykit worker`: one worker process, with the settings of the environment."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from contextlib import nullcontext
from typing import NoReturn

import structlog

from relaykit.shared.errors import RelaykitError
from relaykit.shared.log import configure, failure
from relaykit.shared.process.gc_tuning import settle
from relaykit.shared.process.main_loop import MainLoop
from relaykit.shared.settings import load_settings
from relaykit.shared.tracing.process import check_tracing, end_tracing, start_tracing
from relaykit.worker.main import RunWorker, create_worker
from relaykit.worker.quarantine.cell_process import execute_cell
from relaykit.worker.quarantine.fork_server import forking

log = structlog.get_logger()


def main(loop: MainLoop | None = None) -> int:
    """The status to end with, by `loop.end`."""
    loop = loop or MainLoop()
    try:
        settings = load_settings()
        configure(settings.log_level, settings.log_format, settings.log_exceptions)
        faulthandler.enable()
        check_tracing()
        loop.at_end(end_tracing)
        has_cells = settings.isolate_runs or settings.suspect_processes > 0
        with forking(execute_cell) if has_cells else nullcontext() as forks:
            start_tracing("relaykit-worker")  # it has a thread
            worker = create_worker(settings, forks=forks, owns_process=True)
            settle()
            loop.run(_serve(worker))
    except RelaykitError as error:
        print(f"relaykit worker: {error.code}: {error.message}", file=sys.stderr)
        return 2
    except BaseException as error:
        log.critical("the worker failed: the process ends", action="worker_failed", **failure(error))
        return 1
    return 0


async def _serve(worker: RunWorker) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # not the loop's own handlers: those are not called while a call blocks it
        signal.signal(number, lambda number, frame: worker.draining.ask_by_signal(loop))
    await worker.run()


def run() -> NoReturn:
    """Runs the process to its end."""
    loop = MainLoop()
    loop.end(main(loop))


if __name__ == "__main__":
    run()
