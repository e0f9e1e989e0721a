"""Becomes another program that the kernel ends with the process that started it.

    python -I -S exec_child.py <signal> <parent pid> <uid:gid, or -> <socket, or -> <program> [argument ...]

The program gets the socket as its descriptor 3, as sd_listen_fds(3) has it.

Run as a script, because the two things it does must happen between fork and exec, and in this order: the kernel
forgets the parent-death signal whenever a process changes its user. Where there is no prctl (not Linux) the
program runs without that tie.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
FIRST_GIVEN = 3


def main(arguments: list[str]) -> None:
    death_signal, parent, user, listener, program, *rest = arguments
    if user != "-":
        uid, gid = (int(part) for part in user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("The process that started this one is gone.")
    if listener != "-":
        os.dup2(given := int(listener), FIRST_GIVEN)
        if given != FIRST_GIVEN:
            os.close(given)
    os.execv(program, [program, *rest])  # noqa: S606  # what this script is for


if __name__ == "__main__":
    main(sys.argv[1:])
