"""The user's ChatKitServer and its context: found, built, given our store."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import structlog
from chatkit.server import ChatKitServer
from chatkit.store import AttachmentStore, Store

from relaykit.shared.errors import ContextTimeout, ServerLoadError
from relaykit.shared.identity import RequestContext
from relaykit.shared.settings import Settings
from relaykit.shared.site.checks import bypassed, holders_of, own_methods, unfit_context, unfit_streams
from relaykit.shared.site.load_loop import TOO_EARLY, StartsTask, unrun_loop, wants_loop
from relaykit.shared.site.refusals import server_refusals
from relaykit.shared.site.shadow import SHADOWED, is_shadowed
from relaykit.shared.site.store_extras import ForeignStoreExtras, StoreExtras
from relaykit.shared.threads.store import PostgresStore
from relaykit.shared.threads.timestamps import send_offsets

STANDARD_LIBRARY: Final = sysconfig.get_path("stdlib")

_ABSENT: Final = object()

ContextFactory = Callable[[RequestContext], Any]
"""Gives the server's own context, or an awaitable of it."""

T = TypeVar("T")

log = structlog.get_logger()


class CodeLoop(Protocol):
    """The loop on which the server's code runs."""

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives, or raises, there."""


@dataclass(frozen=True, slots=True)
class UserServer:
    """What a deployment runs: the server, and the function that makes its context from ours."""

    server: ChatKitServer[Any]
    make_context: ContextFactory
    context_seconds: float = 10
    own_methods: frozenset[str] = frozenset()
    """The names of the SDK's methods that the server overrides."""
    loop: CodeLoop | None = None
    """Where the server's code runs; None in a worker, where all runs on one loop."""
    our_store: PostgresStore | None = field(init=False)
    """The server's store where it is ours; None for a foreign one."""
    extras: StoreExtras = field(init=False)
    """What either kind of store can do beyond the SDK's `Store`."""

    def __post_init__(self) -> None:
        """Decides once, where the server is loaded, whether the store is ours."""
        store = self.server.store
        ours = store if isinstance(store, PostgresStore) else None
        object.__setattr__(self, "our_store", ours)
        object.__setattr__(self, "extras", ours or ForeignStoreExtras(self.server))

    @property
    def is_store_ours(self) -> bool:
        return self.our_store is not None

    @property
    def has_own_context(self) -> bool:
        return self.make_context is not _identity

    async def run(self, call: Callable[[], Awaitable[T]], *, reaches_code: bool) -> T:
        """What the call gives, or raises: on the loop of the server's code if it reaches any of that, else here.

        A call within a call stays where it is. Raises ServerBlocked where that loop does not go on.
        """
        if self.loop is None or not reaches_code:
            return await call()
        return await self.loop.call(call)

    async def context(self, request: RequestContext) -> Any:
        """The context that the server's methods are called with.

        Raises ServerRefused where the site's function refuses the caller with an HTTPException, ContextTimeout where
        its answer takes longer than CONTEXT_SECONDS, ServerBlocked as `run` does, and what else the function raises.
        """
        if not self.has_own_context:
            return request
        return await self.run(lambda: self._made(request), reaches_code=True)

    async def store_context(self, request: RequestContext) -> Any:
        """The context for the store alone, which no method of the server sees. Raises as `context` does.

        Our store takes the request's own, so that no code of the site's runs while it has the thread locked.
        """
        return request if self.is_store_ours else await self.context(request)

    async def _made(self, request: RequestContext) -> Any:
        with server_refusals():
            made = self.make_context(request)
            if not inspect.isawaitable(made):
                return made
            try:
                async with asyncio.timeout(self.context_seconds) as timeout:
                    return await made
            except TimeoutError as error:
                if timeout.expired():
                    raise ContextTimeout from error
                raise


def load_server(
    settings: Settings,
    store: Store[Any],
    attachment_store: AttachmentStore[Any] | None,
    instance: ChatKitServer[Any] | None = None,
) -> UserServer:
    """Builds the server that CHATKIT_SERVER names, or takes `instance` in its place.

    A class is called with `store=` and `attachment_store=` where its constructor takes them, else with nothing;
    a factory likewise. With CHATKIT_STORE=postgres our store replaces the one that the server built for itself.
    A process calls this before its event loop runs. Raises ServerLoadError, whose text is one line, whatever the site's
    code raises.
    """
    try:
        with unrun_loop():
            return _load(settings, store, attachment_store, instance)
    except ServerLoadError:
        raise
    except StartsTask as error:
        raise ServerLoadError(
            f"CHATKIT_SERVER={settings.chatkit_server}: it starts tasks: {TOO_EARLY}"
        ) from error
    except BaseException as error:
        raise ServerLoadError(f"CHATKIT_SERVER={settings.chatkit_server}: {_told(error)}") from error


def _load(
    settings: Settings,
    store: Store[Any],
    attachment_store: AttachmentStore[Any] | None,
    instance: ChatKitServer[Any] | None,
) -> UserServer:
    folder = str(settings.app_dir or Path.cwd())
    if is_shadowed(Path(folder)):
        raise ServerLoadError(SHADOWED.format(folder=folder))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    context = (
        _identity
        if settings.chatkit_context is None
        else _resolve("CHATKIT_CONTEXT", settings.chatkit_context)
    )
    if not callable(context):
        raise ServerLoadError(f"CHATKIT_CONTEXT={settings.chatkit_context}: is not callable")
    if unfit := unfit_context(context):
        raise ServerLoadError(f"CHATKIT_CONTEXT={settings.chatkit_context}: {unfit}")
    server = instance or _named_server(settings.chatkit_server, store, attachment_store)
    is_store_ours = settings.chatkit_store == "postgres"
    if reason := bypassed(server, is_store_ours=is_store_ours) or unfit_streams(server):
        raise ServerLoadError(f"CHATKIT_SERVER={settings.chatkit_server}: {reason}")
    if is_store_ours:
        _put_store(server, store)
        if server.attachment_store is None:
            server.attachment_store = attachment_store
    replaced = own_methods(server)
    send_offsets(server)
    return UserServer(server, context, settings.context_seconds, replaced)


def _put_store(server: ChatKitServer[Any], store: Store[Any]) -> None:
    replaced, server.store = server.store, store
    if replaced is not store and (holders := holders_of(replaced, server)):
        log.warning(
            "a part of the server still has the store that Relaykit's has replaced: give it the constructor's store",
            action="store_replaced",
            holders=holders,
        )


def _named_server(
    name: str, store: Store[Any], attachment_store: AttachmentStore[Any] | None
) -> ChatKitServer[Any]:
    found = _resolve("CHATKIT_SERVER", name)
    return found if isinstance(found, ChatKitServer) else _build(name, found, store, attachment_store)


def _build(
    name: str, found: Any, store: Store[Any], attachment_store: AttachmentStore[Any] | None
) -> ChatKitServer[Any]:
    if not callable(found):
        raise ServerLoadError(f"CHATKIT_SERVER={name}: is neither a ChatKitServer nor callable")
    offered = {"store": store, "attachment_store": attachment_store}
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise ServerLoadError(
            f"CHATKIT_SERVER={name}: is an abstract class: it does not define {', '.join(missing)}"
        )
    try:
        signature = inspect.signature(found)
        parameters = signature.parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        given = {key: value for key, value in offered.items() if takes_any or key in parameters}
        unfit = _unfit(signature, given)
        server = None if unfit else found(**given)
    except BaseException as error:
        raise ServerLoadError(f"CHATKIT_SERVER={name}: {_told(error)}") from error
    if unfit:
        raise ServerLoadError(f"CHATKIT_SERVER={name}: {unfit}")
    if inspect.iscoroutine(server):
        server.close()
    if not isinstance(server, ChatKitServer):
        raise ServerLoadError(
            f"CHATKIT_SERVER={name}: gave a {type(server).__name__} instead of a ChatKitServer"
        )
    if not hasattr(server, "store") or not hasattr(server, "attachment_store"):
        raise ServerLoadError(f"CHATKIT_SERVER={name}: its constructor does not call super().__init__(store)")
    return server


def _resolve(variable: str, name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ServerLoadError(f"{variable}={name}: must be of the form package.module:attribute")
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            owner, found = found, getattr(found, part, _ABSENT)
            if found is _ABSENT:
                owner_name = getattr(owner, "__name__", type(owner).__name__)
                raise ServerLoadError(f"{variable}={name}: {owner_name!r} has no attribute {part!r}")
    except ServerLoadError:
        raise
    except BaseException as error:
        raise ServerLoadError(f"{variable}={name}: {_told(error)}") from error
    return found


def _unfit(signature: inspect.Signature, given: dict[str, Any]) -> str | None:
    """How the arguments do not fit, in words of Python's own."""
    try:
        signature.bind(**given)
    except TypeError as error:
        return str(error)
    return None


def _told(error: BaseException) -> str:
    """What a line says of an exception out of the user's code: its type and its place.

    Its text may hold a secret, such as the password in an address. Python's own words about a module that is absent or
    cannot be read hold names alone.
    """
    kind = type(error).__name__
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{kind}: No module named {error.name!r}"
    if isinstance(error, SyntaxError):
        return f"{kind}: {error.msg} ({Path(error.filename or '?').name}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not _is_pythons_or_ours(frame.filename)]
    if not theirs:
        return kind
    own = [frame for frame in theirs if not _is_a_librarys(frame.filename)]
    frame = (own or theirs)[-1]
    hint = f": {TOO_EARLY}" if wants_loop(error) else ""
    return f"{kind} at {frame.filename}:{frame.lineno} in {frame.name}{hint}"


def _is_pythons_or_ours(filename: str) -> bool:
    return filename.startswith("<frozen ") or filename == importlib.__file__ or filename == __file__


def _is_a_librarys(filename: str) -> bool:
    return "site-packages" in filename or filename.startswith(STANDARD_LIBRARY)


def _identity(context: RequestContext) -> RequestContext:
    return context
