"""What the site's code raises that is no Exception: a panic of an extension module, SystemExit, KeyboardInterrupt.

It is that code's failure as any other. As an Exception it ends the request or the run that it belongs to, and nothing
else: asyncio lets SystemExit and KeyboardInterrupt out of the event loop, and `except Exception` misses them all.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class ServerCrashed(Exception):
    """The site's code raised what is no Exception: `__cause__`."""


class _SiteCode:
    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, (Exception, asyncio.CancelledError)):
            raise ServerCrashed from error


site_code = _SiteCode()
"""`with site_code:` has what is no Exception leave the block as ServerCrashed. A cancellation leaves it as it is.

Not around a `yield` of an async generator of ours, which is closed by GeneratorExit.
"""
