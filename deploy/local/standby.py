"""A process that has imported all of Relaykit that it needs, and waits to be told what to be.

    python -m relaykit.local.standby relaykit.worker

Importing Relaykit and what it stands on takes seconds, and the site's own code mostly a part of one. The environment
comes on standard input as one JSON object, because what is read from it may have changed since; the process then goes
on as `python -m relaykit.worker` does in the site's folder.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import NoReturn


def main(package: str) -> NoReturn:
    module = importlib.import_module(f"{package}.__main__")
    order = sys.stdin.buffer.readline()
    if not order:
        sys.exit(0)  # local mode has ended without using it
    environment = json.loads(order)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.environ.clear()
    os.environ.update(environment, LISTEN_PID=str(os.getpid()))
    if folder := environment.get("APP_DIR"):
        os.chdir(folder)
    module.run()
    raise AssertionError("the process has ended by itself")


if __name__ == "__main__":
    main(sys.argv[1])
