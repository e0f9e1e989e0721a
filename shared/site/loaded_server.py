"""From what the settings name to the user's server: as far as it goes before the event loop runs, and the rest on it.

A lifespan, and a factory that is async, need the loop. With neither, all is there before the loop runs.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import structlog
from chatkit.server import ChatKitServer
from chatkit.store import Store

from relaykit.shared.errors import ServerLoadError
from relaykit.shared.settings import Settings
from relaykit.shared.site.attributes import add_site_folder, load_attribute, loading
from relaykit.shared.site.authentication import Authenticate
from relaykit.shared.site.checks import (
    bypassed,
    holders_of,
    own_methods,
    unfit_context,
    unfit_hook,
    unfit_lifespan,
    unfit_streams,
)
from relaykit.shared.site.lifetime import in_words_of
from relaykit.shared.site.site_process import SiteProcess
from relaykit.shared.site.user_server import ContextFactory, UserServer, as_given
from relaykit.shared.threads.timestamps import send_offsets

Lifespan = Callable[[SiteProcess], AbstractAsyncContextManager[Any]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LoadedServer:
    """The user's server, as far as it is there before the event loop runs."""

    process: SiteProcess
    make_context: ContextFactory
    authenticate: Authenticate | None
    lifespan: Lifespan | None
    instance: ChatKitServer[Any] | None
    """The server of a test, in place of the one that CHATKIT_SERVER names."""
    source: Any
    """A class or a factory of a test, in place of the one that CHATKIT_SERVER names; None elsewhere."""
    given: Any
    """What CHATKIT_SERVER's class or factory gave: a server, or what gives one on the loop. None with a lifespan."""
    user: UserServer | None
    """The server, where nothing is left to be done on the loop."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[UserServer]:
        """The server, within its lifespan. For the loop on which the site's code runs.

        Raises ServerLoadError at its begin; at its end what the site's code raises.
        """
        if self.user is not None:
            yield self.user
            return
        settings = self.process.settings
        async with AsyncExitStack() as stack:
            yielded = None
            if self.lifespan is not None:
                with in_words_of(_lifespan_label(settings)):
                    yielded = await stack.enter_async_context(self.lifespan(self.process))
                _check_yielded(settings, yielded)
            server = self.instance or yielded
            if server is None:
                with in_words_of(_server_label(settings)):
                    server = await self._named(stack)
            yield _fitted(self.process, server, self.make_context, self.authenticate)

    async def _named(self, stack: AsyncExitStack) -> ChatKitServer[Any]:
        settings = self.process.settings
        given = _given(self.process, self.source) if self.lifespan is not None else self.given
        if isinstance(given, ChatKitServer):
            return given
        if isinstance(given, partial):
            given = given()
        if inspect.isawaitable(given):
            given = await given
        elif isinstance(given, AbstractAsyncContextManager):
            given = await stack.enter_async_context(given)
        return _checked(settings, given)


def load_server(
    process: SiteProcess, instance: ChatKitServer[Any] | None = None, *, source: Any = None
) -> LoadedServer:
    """Finds what the settings name, and builds the server that CHATKIT_SERVER names, or takes `instance` in its place.

    `source` stands in for the class or factory that CHATKIT_SERVER names.

    A class is called with `store=` and `attachment_store=` where its constructor takes them, else with nothing; a
    factory likewise. With CHATKIT_STORE=postgres our store replaces the one that the server built for itself. With a
    lifespan the server is built once that was entered. A process calls this before its event loop runs. Raises
    ServerLoadError, whose text is one line, whatever the site's code raises.
    """
    with loading(_server_label(process.settings)):
        return _load(process, instance, source)


def _load(process: SiteProcess, instance: ChatKitServer[Any] | None, source: Any) -> LoadedServer:
    settings = process.settings
    add_site_folder(settings)
    context = _context_factory(settings)
    authenticate = None if settings.authenticate is None else _hook(settings.authenticate)
    lifespan = _named_lifespan(settings)
    if lifespan is not None:
        if instance is None and source is None and "chatkit_server" in settings.model_fields_set:
            load_attribute("CHATKIT_SERVER", settings.chatkit_server)  # what is wrong with it is told at once
        return LoadedServer(process, context, authenticate, lifespan, instance, source, None, None)
    given = instance or _given(process, source)
    user = _fitted(process, given, context, authenticate) if isinstance(given, ChatKitServer) else None
    return LoadedServer(process, context, authenticate, None, instance, source, given, user)


def _context_factory(settings: Settings) -> ContextFactory:
    name = settings.chatkit_context
    if name is None:
        return as_given
    context = load_attribute("CHATKIT_CONTEXT", name)
    if not callable(context):
        raise ServerLoadError(f"CHATKIT_CONTEXT={name}: is not callable")
    if unfit := unfit_context(context):
        raise ServerLoadError(f"CHATKIT_CONTEXT={name}: {unfit}")
    made: ContextFactory = context
    return made


def _hook(name: str) -> Authenticate:
    hook = load_attribute("AUTHENTICATE", name)
    if unfit := unfit_hook(hook):
        raise ServerLoadError(f"AUTHENTICATE={name}: {unfit}")
    return cast(Authenticate, hook)


def _named_lifespan(settings: Settings) -> Lifespan | None:
    name = settings.chatkit_lifespan
    if name is None:
        return None
    found = load_attribute("CHATKIT_LIFESPAN", name)
    if unfit := unfit_lifespan(found):
        raise ServerLoadError(f"{_lifespan_label(settings)}: {unfit}")
    entered = asynccontextmanager(found) if inspect.isasyncgenfunction(found) else found

    def lifespan(process: SiteProcess) -> AbstractAsyncContextManager[Any]:
        made = entered(process)
        if not isinstance(made, AbstractAsyncContextManager):
            if inspect.iscoroutine(made):
                made.close()
            raise ServerLoadError(
                f"{_lifespan_label(settings)}: gave a {type(made).__name__} instead of an async context manager"
            )
        return made

    return lifespan


def _check_yielded(settings: Settings, yielded: object) -> None:
    if yielded is not None and not isinstance(yielded, ChatKitServer):
        raise ServerLoadError(
            f"{_lifespan_label(settings)}: yielded a {type(yielded).__name__}: a lifespan yields a ChatKitServer,"
            " or nothing where CHATKIT_SERVER names one"
        )


def _fitted(
    process: SiteProcess,
    server: ChatKitServer[Any],
    context: ContextFactory,
    authenticate: Authenticate | None,
) -> UserServer:
    settings = process.settings
    label = _server_label(settings)
    is_store_ours = settings.chatkit_store == "postgres"
    with in_words_of(label):
        if reason := bypassed(server, is_store_ours=is_store_ours) or unfit_streams(server):
            raise ServerLoadError(f"{label}: {reason}")
        if is_store_ours:
            _put_store(server, process.store)
            if server.attachment_store is None:
                server.attachment_store = process.attachment_store
        replaced = own_methods(server)
        send_offsets(server)
        return UserServer(server, context, settings.context_seconds, replaced, authenticate)


def _put_store(server: ChatKitServer[Any], store: Store[Any]) -> None:
    replaced, server.store = server.store, store
    if replaced is not store and (holders := holders_of(replaced, server)):
        log.warning(
            "a part of the server still has the store that Relaykit's has replaced: give it the constructor's store",
            action="store_replaced",
            holders=holders,
        )


def _given(process: SiteProcess, source: Any) -> Any:
    """What CHATKIT_SERVER names, or gives when it is called: a server, or what gives one on the loop."""
    settings = process.settings
    found = source or load_attribute("CHATKIT_SERVER", settings.chatkit_server)
    if isinstance(found, ChatKitServer):
        return found
    given = _build(settings, found, process)
    needs_loop = inspect.isawaitable(given) or isinstance(given, (partial, AbstractAsyncContextManager))
    return given if needs_loop and not isinstance(given, ChatKitServer) else _checked(settings, given)


def _build(settings: Settings, found: Any, process: SiteProcess) -> Any:
    label = _server_label(settings)
    if not callable(found):
        raise ServerLoadError(f"{label}: is neither a ChatKitServer nor callable")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise ServerLoadError(f"{label}: is an abstract class: it does not define {', '.join(missing)}")
    offered = {"store": process.store, "attachment_store": process.attachment_store}
    if inspect.isasyncgenfunction(found):
        found = asynccontextmanager(found)
    with in_words_of(label):
        signature = inspect.signature(found)
        parameters = signature.parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        given = {key: value for key, value in offered.items() if takes_any or key in parameters}
        if unfit := _unfit(signature, given):
            raise ServerLoadError(f"{label}: {unfit}")
        # an async function is called on the loop: its coroutine would be left unawaited where the process stops before
        return partial(found, **given) if inspect.iscoroutinefunction(found) else found(**given)


def _checked(settings: Settings, server: object) -> ChatKitServer[Any]:
    label = _server_label(settings)
    if not isinstance(server, ChatKitServer):
        raise ServerLoadError(f"{label}: gave a {type(server).__name__} instead of a ChatKitServer")
    if not hasattr(server, "store") or not hasattr(server, "attachment_store"):
        raise ServerLoadError(f"{label}: its constructor does not call super().__init__(store)")
    return server


def _unfit(signature: inspect.Signature, given: dict[str, Any]) -> str | None:
    """How the arguments do not fit, in words of Python's own."""
    try:
        signature.bind(**given)
    except TypeError as error:
        return str(error)
    return None


def _server_label(settings: Settings) -> str:
    return f"CHATKIT_SERVER={settings.chatkit_server}"


def _lifespan_label(settings: Settings) -> str:
    return f"CHATKIT_LIFESPAN={settings.chatkit_lifespan}"
