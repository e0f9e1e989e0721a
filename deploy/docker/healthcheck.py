"""Asks the process of this container for /healthz: the API at PORT, a worker at WORKER_PORT. Status 0 where it is well.

It knows the process by the container's command, because the API and the workers of one image have both ports set.
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path

TIMEOUT_SECONDS = 4


def main() -> int:
    command = Path("/proc/1/cmdline").read_bytes().split(b"\0")
    name = "WORKER_PORT" if b"worker" in command else "PORT"
    port = os.environ.get(name, "")
    if port in ("", "0"):
        print(f"{name} is not set: nothing can be asked")
        return 1
    connection = HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        print(f"/healthz at port {port} does not answer: {type(error).__name__}")
        return 1
    print(f"/healthz at port {port}: {status}")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
