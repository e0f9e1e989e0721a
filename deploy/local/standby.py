"""A process that has imported all of Relaykit that it needs, and forks the processes of one role.

    python -m relaykit.local.standby relaykit.worker 4

Importing Relaykit and what it stands on takes seconds, and the site's own code mostly a part of one. Descriptor 4 is a
socket: each message on it is an order, with a file that holds the environment of the new process as JSON. That process
goes on as `python -m relaykit.worker` does in the site's folder. What forks tells the pids on the same socket, in the
order of the orders, and later how each has ended. Nothing has started a thread by then, so that forking is safe.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from relaykit.local.exec_child import PR_SET_PDEATHSIG

ORDER = b"f"


def main(package: str, descriptor: int) -> NoReturn:
    gc.disable()  # there is hardly any garbage in imports, and looking for it takes an eighth of their time
    module = importlib.import_module(f"{package}.__main__")
    gc.collect()
    gc.freeze()  # a collection would write to each page that is shared
    gc.enable()
    environment = json.loads(_ordered(socket.socket(fileno=descriptor)))
    _name(package.replace(".", "-"))
    os.environ.clear()
    os.environ.update(environment, LISTEN_PID=str(os.getpid()))
    if folder := environment.get("APP_DIR"):
        os.chdir(folder)
    module.run()
    raise AssertionError("the process has ended by itself")


def _ordered(control: socket.socket) -> bytes:
    """Returns in each process that was ordered: its environment. The one that forks ends with the last of them, once
    nothing more can be ordered.
    """
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    handler = signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    _name("relaykit-parent")
    children: set[int] = set()
    sources = [woken, control.fileno()]
    while len(sources) > 1 or children:
        readable, _, _ = select.select(sources, [], [])
        if woken in readable:
            os.read(woken, 4096)
            _reap(control, children)
        if control.fileno() in readable:
            message, files, _, _ = socket.recv_fds(control, len(ORDER), 1)
            if not message:  # local mode has ended, or has another standby in place of this one
                sources.remove(control.fileno())
                continue
            parent = os.getpid()
            try:
                pid = os.fork()
            except OSError:
                pid = -1
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, handler)
                for descriptor in (woken, wakes, control.detach()):
                    os.close(descriptor)
                _become_child(parent)
                with open(files[0], "rb") as file:
                    return file.read()
            os.close(files[0])
            children |= {pid} - {-1}
            _tell(control, pid=pid)
    os._exit(0)


def _become_child(parent: int) -> None:
    """The process ends with the one that has forked it, `parent`, and that with local mode."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _reap(control: socket.socket, children: set[int]) -> None:
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            children.discard(pid)
            _tell(control, pid=pid, status=os.waitstatus_to_exitcode(status))


def _name(name: str) -> None:
    """How `top` and `pkill -x` call the process; its command line stays that of the one that forks."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _tell(control: socket.socket, **said: int) -> None:
    with suppress(OSError):  # local mode has ended
        control.sendall(json.dumps(said).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
