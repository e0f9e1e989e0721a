"""`python -m worker`: one worker process, with the settings of the environment."""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog

from shared.errors import RelaykitError
from shared.garbage import settle
from shared.log import configure, failure
from shared.main_loop import MainLoop
from shared.settings import load_settings
from worker.main import RunWorker, create_worker

log = structlog.get_logger()


def main(loop: MainLoop | None = None) -> int:
    """The status to end with, by `loop.end`."""
    loop = loop or MainLoop()
    try:
        settings = load_settings()
        configure(settings.log_level, settings.log_format)
        worker = create_worker(settings)
        settle()
        loop.run(_serve(worker))
    except RelaykitError as error:
        print(f"relaykit worker: {error.code}: {error.message}", file=sys.stderr)
        return 2
    except BaseException as error:
        log.critical("the worker failed", action="worker_failed", **failure(error))
        return 1
    return 0


async def _serve(worker: RunWorker) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, worker.drain)
    await worker.run()


if __name__ == "__main__":
    main_loop = MainLoop()
    main_loop.end(main(main_loop))
