"""`python -m worker`: one worker process, with the settings of the environment."""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog
import uvloop

from shared.errors import RelaykitError
from shared.garbage import settle
from shared.log import configure, failure
from shared.settings import Settings, load_settings
from worker.main import create_worker

log = structlog.get_logger()


def main() -> int:
    try:
        settings = load_settings()
        configure(settings.log_level, settings.log_format)
        uvloop.run(_serve(settings))
    except RelaykitError as error:
        print(f"relaykit worker: {error.code}: {error.message}", file=sys.stderr)
        return 2
    except Exception as error:
        log.critical("the worker failed", action="worker_failed", **failure(error))
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    worker = create_worker(settings, owns_process=True)
    settle()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # not the loop's own handlers: those are not called while a call blocks it
        signal.signal(number, lambda number, frame: worker.terminate(loop))
    await worker.run()


if __name__ == "__main__":
    sys.exit(main())
