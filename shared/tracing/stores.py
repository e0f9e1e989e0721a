"""The calls of a store as spans: of ours, and of a site's own."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import wraps
from typing import Any, Final

from chatkit.store import Store

from relaykit.shared.tracing.spans import span, tracing

_MARK: Final = "_relaykit_traced"


def trace_store(store: Store[Any]) -> None:
    """Makes each call of the store a span of the trace that its task is in. Does nothing where there are no traces."""
    if tracing() is None:
        return
    for name in Store.__abstractmethods__:
        method = getattr(store, name)
        if inspect.iscoroutinefunction(method) and not hasattr(method, _MARK):
            # a store that takes no attribute, for a reason of its own, is not traced
            with suppress(Exception):
                setattr(store, name, _traced(name, method))


def _traced(name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(method)
    async def traced(*arguments: Any, **named: Any) -> Any:
        with span(f"store {name}"):
            return await method(*arguments, **named)

    setattr(traced, _MARK, True)
    return traced
