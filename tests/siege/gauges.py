"""What the kernel says of the processes: memory, descriptors and connections, from /proc."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LISTEN = "0A"


def resident_mb(pid: int) -> float:
    """Zero for a process that has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6
    except (OSError, IndexError):
        return 0.0


@dataclass(frozen=True)
class Open:
    """What a server has open besides its own connections to its services."""

    connections: int
    """Of clients, in whatever state."""
    files: Counter[str]
    """By path: not the pipes, counters and folders that a library opens once and keeps."""


def open_descriptors(pid: int, port: int) -> Open:
    """Of the process that listens on this port."""
    sockets: set[str] = set()
    files: Counter[str] = Counter()
    folder = Path(f"/proc/{pid}/fd")
    for descriptor in folder.iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
        elif target.startswith("/") and not target.startswith("/dev/") and not Path(target).is_dir():
            files[target] += 1
    return Open(len(sockets & _clients_of(port)), files)


def _clients_of(port: int) -> set[str]:
    """The inodes of the sockets on a local port, the listening one aside."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] != LISTEN:
                found.add(fields[9])
    return found
