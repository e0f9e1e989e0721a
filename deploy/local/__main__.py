"""`relaykit dev` (`make run`) and `relaykit local`: all of Relaykit on this machine, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from relaykit.local.errors import LocalModeError, Stopped
from relaykit.local.supervisor import Processes, run
from relaykit.local.waiting import StopRequest
from relaykit.shared.site.shadow import SHADOWED, is_shadowed


def main(server: str | None = None, *, reload: bool = False) -> int:
    """0 when it was asked to stop; with a clear message 1 when it could not start or go on, 2 where a setting is wrong,
    a service is missing, or the site's code does not load.

    `server` goes before CHATKIT_SERVER. `reload`: saving a file of the site's replaces the processes.
    """
    environ = {**os.environ, **({"CHATKIT_SERVER": server} if server else {})}
    if is_shadowed(folder := Path.cwd()):  # its processes would import that package
        print(f"Relaykit: {SHADOWED.format(folder=folder)}", file=sys.stderr)
        return 2
    stop, processes = StopRequest(), Processes()

    def asked_to_stop(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            processes.kill()
        stop.requested = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, asked_to_stop)
    try:
        run(environ, stop, processes, reload=reload)
    except Stopped:
        pass
    except LocalModeError as error:
        print(f"Relaykit: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        print(f"Relaykit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
