"""The user's ChatKitServer and its context: found, built, given our store."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.store import AttachmentStore, Store

from shared.errors import ServerLoadError
from shared.identity import RequestContext
from shared.settings import Settings

ContextFactory = Callable[[RequestContext], Any]


@dataclass(frozen=True, slots=True)
class UserServer:
    """What a deployment runs: the server, and the function that makes its context from ours."""

    server: ChatKitServer[Any]
    context: ContextFactory


def load_server(
    settings: Settings,
    store: Store[Any],
    attachment_store: AttachmentStore[Any] | None,
    instance: ChatKitServer[Any] | None = None,
) -> UserServer:
    """Builds the server that CHATKIT_SERVER names, or takes `instance` in its place.

    A class is called with `store=` and `attachment_store=` where its constructor takes them, else with nothing;
    a factory likewise. With CHATKIT_STORE=postgres our store replaces the one that the server built for itself.
    Raises ServerLoadError, whose text is one line.
    """
    if settings.app_dir is not None and str(settings.app_dir) not in sys.path:
        sys.path.insert(0, str(settings.app_dir))
    context = (
        _identity
        if settings.chatkit_context is None
        else _resolve("CHATKIT_CONTEXT", settings.chatkit_context)
    )
    if not callable(context):
        raise ServerLoadError(f"CHATKIT_CONTEXT={settings.chatkit_context}: not callable")
    server = instance or _named_server(settings.chatkit_server, store, attachment_store)
    if settings.chatkit_store == "postgres":
        server.store = store
        if server.attachment_store is None:
            server.attachment_store = attachment_store
    return UserServer(server, context)


def _named_server(
    name: str, store: Store[Any], attachment_store: AttachmentStore[Any] | None
) -> ChatKitServer[Any]:
    found = _resolve("CHATKIT_SERVER", name)
    return found if isinstance(found, ChatKitServer) else _build(name, found, store, attachment_store)


def _build(
    name: str, found: Any, store: Store[Any], attachment_store: AttachmentStore[Any] | None
) -> ChatKitServer[Any]:
    if not callable(found):
        raise ServerLoadError(f"CHATKIT_SERVER={name}: neither a ChatKitServer nor callable")
    offered = {"store": store, "attachment_store": attachment_store}
    try:
        parameters = inspect.signature(found).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        server = found(**{key: value for key, value in offered.items() if takes_any or key in parameters})
    except (Exception, SystemExit) as error:
        raise ServerLoadError(f"CHATKIT_SERVER={name}: {_line(error)}") from error
    if inspect.iscoroutine(server):
        server.close()
    if not isinstance(server, ChatKitServer):
        raise ServerLoadError(f"CHATKIT_SERVER={name}: gave a {type(server).__name__}, not a ChatKitServer")
    if not hasattr(server, "store") or not hasattr(server, "attachment_store"):
        raise ServerLoadError(f"CHATKIT_SERVER={name}: its constructor does not call super().__init__(store)")
    return server


def _resolve(variable: str, name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ServerLoadError(f"{variable}={name}: not of the form package.module:attribute")
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        raise ServerLoadError(f"{variable}={name}: {_line(error)}") from error
    return found


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _identity(context: RequestContext) -> RequestContext:
    return context
