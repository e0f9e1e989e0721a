"""What a site's server and its context cannot be, found when they are loaded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Final

from chatkit.server import ChatKitServer
from chatkit.store import Store

NEVER_CALLED: Final[Mapping[str, str]] = {
    "process": "respond() and action() make the answer, CHATKIT_CONTEXT refuses callers and makes the context",
    "_process_streaming": "_process_events() sees every event of a run",
    "_process_streaming_impl": "_process_events() sees every event of a run",
    "_process_new_thread_item_respond": "_build_user_message_item() makes the message, respond() answers it",
}
"""Methods of the SDK that admission and the worker take the place of; beside each, the ones that are called."""
NEVER_CALLED_WITH_OUR_STORE: Final[Mapping[str, str]] = {
    "_paginate_thread_items_reverse": "with CHATKIT_STORE=own it is called",
}

STREAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "respond": ("thread", "item", "context"),
    "action": ("thread", "action", "sender", "context"),
}
"""The methods that yield events, with what the SDK calls them with."""


def overrides(server: ChatKitServer[Any], method: str) -> bool:
    """Whether the server has a method of its own in the place of the SDK's: by its class, a mixin, or on itself."""
    return inspect.getattr_static(server, method) is not inspect.getattr_static(ChatKitServer, method)


def own_methods(server: ChatKitServer[Any]) -> frozenset[str]:
    """The names of the SDK's methods that the server overrides."""
    methods = (name for name, value in vars(ChatKitServer).items() if inspect.isfunction(value))
    return frozenset(name for name in methods if name != "__init__" and overrides(server, name))


def bypassed(server: ChatKitServer[Any], *, is_store_ours: bool) -> str | None:
    """What keeps the server from being run as it was written, in one line; None where nothing does."""
    never_called = {**NEVER_CALLED, **(NEVER_CALLED_WITH_OUR_STORE if is_store_ours else {})}
    for method, instead in never_called.items():
        if overrides(server, method):
            return f"it overrides {method}(), which Relaykit does not call: {instead}"
    return None


def unfit_context(context: Callable[..., Any]) -> str | None:
    """Why CHATKIT_CONTEXT cannot be called with a RequestContext, or gives no context; None where it fits."""
    called = type(context).__call__ if not inspect.isroutine(context) else context
    if any(
        inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in (context, called)
    ):
        return "it yields; return the context instead"
    try:
        signature = inspect.signature(context)
    except (TypeError, ValueError):  # of some callables written in C Python knows none
        return None
    try:
        signature.bind(None)
    except TypeError as error:
        return f"called with the RequestContext: {error}"
    return None


def unfit_hook(hook: object) -> str | None:
    """Why AUTHENTICATE cannot be awaited with an AuthRequest, with its place; None where it fits."""
    if not callable(hook):
        return f"is a {type(hook).__name__}, not an async function"
    called = hook if inspect.isroutine(hook) or isinstance(hook, partial) else type(hook).__call__
    code = getattr(inspect.unwrap(getattr(called, "__func__", called)), "__code__", None)
    place = "" if code is None else f" in {code.co_filename}:{code.co_firstlineno}"
    if not inspect.iscoroutinefunction(called):
        return f"the function{place} is not async"
    try:
        inspect.signature(hook).bind(None)
    except (TypeError, ValueError) as error:
        return f"the function{place}, called with the request: {error}"
    return None


def unfit_lifespan(lifespan: object) -> str | None:
    """Why CHATKIT_LIFESPAN cannot be called with a SiteProcess; None where it can."""
    if not callable(lifespan):
        return "is not callable"
    if inspect.isgeneratorfunction(lifespan):
        return "is a generator without `async`: it has to be an async context manager"
    if inspect.iscoroutinefunction(lifespan):
        return "has no `yield`: it has to be an async context manager"
    try:
        inspect.signature(lifespan).bind(None)
    except TypeError as error:
        return f"called with the SiteProcess: {error}"
    except ValueError:  # of some callables written in C Python knows none
        return None
    return None


def unfit_streams(server: ChatKitServer[Any]) -> str | None:
    """Why respond() or action() cannot be called as the SDK calls them, with the place; None where they can."""
    for name, arguments in STREAMS.items():
        method = getattr(server, name)
        code = getattr(inspect.unwrap(getattr(method, "__func__", method)), "__code__", None)
        if code is None or not overrides(server, name):
            continue
        place = f"{name}() in {code.co_filename}:{code.co_firstlineno}"
        if inspect.iscoroutinefunction(method):
            return f"{place} has no `yield`: it has to be an async generator, which yields events"
        if inspect.isgeneratorfunction(method):
            return f"{place} is a generator without `async`: `async def` is what the SDK calls"
        try:
            inspect.signature(method, follow_wrapped=False).bind(*arguments)
        except TypeError as error:
            return f"{place}, called with {', '.join(arguments)}: {error}"
    return None


def holders_of(store: Store[Any] | None, server: ChatKitServer[Any]) -> list[str]:
    """Attributes of the server, and of the objects in them, that are this very store."""
    return [] if store is None else list(_holders_of(store, server))


def _holders_of(store: Store[Any], server: ChatKitServer[Any]) -> Iterator[str]:
    for name, value in _attributes(server).items():
        if value is store:
            yield name
            continue
        for inner, held in _attributes(value).items():
            if held is store:
                yield f"{name}.{inner}"


def _attributes(of: object) -> dict[str, Any]:
    """The instance's own, without any code of its class."""
    if isinstance(of, (type, ModuleType)):
        return {}
    try:
        found = object.__getattribute__(of, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) else {}
