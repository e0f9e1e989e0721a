"""Where an export goes: to the output, or into a new file that is there only once it is whole."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from relaykit.operator_commands.printing import say
from relaykit.shared.errors import SettingsError, StorageUnavailable
from relaykit.shared.operating.shapes import jsonable


async def write_lines(records: AsyncIterator[dict[str, Any]], name: str, to: str | None) -> None:
    """Writes a line for each record, and says how many of each type there were.

    Raises SettingsError where the file cannot be made, or is there already; StorageUnavailable where a write fails.
    """
    counts: Counter[str] = Counter()
    with _output(to) as out:
        async for record in records:
            out.write(json.dumps(jsonable(record), separators=(",", ":"), ensure_ascii=True) + "\n")
            counts[record["type"]] += 1
    say(f"relaykit {name}: {', '.join(f'{count} {kind}s' for kind, count in counts.items()) or 'nothing'}")


@contextmanager
def _output(to: str | None) -> Iterator[TextIO]:
    if to is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    file = Path(to)
    try:
        if file.exists():
            raise SettingsError(f"--to {to}: it is there already")
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # only its owner may read it
    except (OSError, ValueError) as error:
        raise SettingsError(f"--to {to}: {getattr(error, 'strerror', None) or error}") from error
    try:
        with os.fdopen(descriptor, "w") as out:
            yield out
        part.rename(file)
    except OSError as error:
        raise StorageUnavailable(f"--to {to}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
