"""What CHATKIT_APP names: found, and refused in one line where it is no ASGI application."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any, cast

import structlog
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp

from relaykit.shared.errors import ServerLoadError
from relaykit.shared.settings import Settings
from relaykit.shared.site.attributes import add_site_folder, load_attribute, loading

log = structlog.get_logger()


def app_label(settings: Settings) -> str:
    return f"CHATKIT_APP={settings.chatkit_app}"


def load_app(settings: Settings) -> ASGIApp | None:
    """The application, None where none is named. To be called before the loop runs. Raises ServerLoadError."""
    if settings.chatkit_app is None:
        return None
    label = app_label(settings)
    with loading(label):
        add_site_folder(settings)
        found = load_attribute("CHATKIT_APP", settings.chatkit_app)
        if unfit := unfit_app(found):
            raise ServerLoadError(f"{label}: {unfit}")
        return cast(ASGIApp, found)


def unfit_app(app: Any) -> str | None:
    """Why it cannot be called as an ASGI application is; None where it can."""
    if not callable(app):
        return f"is a {type(app).__name__}, not an ASGI application"
    if inspect.isclass(app):
        return "is a class: name an instance of it"
    called = app if inspect.isroutine(app) else type(app).__call__
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        return "it yields: an ASGI application sends"
    try:
        inspect.signature(app).bind("scope", "receive", "send")
    except TypeError as error:
        return f"called with scope, receive and send, as an ASGI application is: {error}"
    except ValueError:  # of some callables written in C Python knows none
        return None
    return None


def has_page(app: ASGIApp | None, settings: Settings) -> bool:
    """Whether the application shows a route for `/`, as Starlette's do where they have one. Raises ServerLoadError."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }
    with loading(app_label(settings)):
        return any(route.matches(dict(scope))[0] is not Match.NONE for route in _routes(app))


def first_segment(path: str) -> str | None:
    """What decides whose a path is; None of what is no path, as `*` in OPTIONS."""
    return path.split("/", 2)[1] if path.startswith("/") else None


def own_segments(app: FastAPI) -> frozenset[str | None]:
    """The first segments of our own routes: everything below them is ours, also what comes there later."""
    return frozenset(map(first_segment, _paths(app)))


def tell_hidden_routes(app: ASGIApp, ours: Collection[str | None]) -> None:
    """Logs the paths that the application has and never gets, where it shows what it has, as Starlette's do."""
    hidden = sorted({path for path in _paths(app) if first_segment(path) in ours})
    if hidden:
        log.warning(
            "routes of the site's application have paths of Relaykit's: they are never reached",
            action="app_routes_hidden",
            paths=hidden,
        )


def _routes(app: ASGIApp | None) -> list[BaseRoute]:
    routes = getattr(app, "routes", None)
    return [route for route in routes if isinstance(route, BaseRoute)] if isinstance(routes, list) else []


def _paths(app: ASGIApp) -> list[str]:
    paths = (getattr(route, "path", None) for route in iter_route_contexts(_routes(app)))
    return [path for path in paths if isinstance(path, str)]
