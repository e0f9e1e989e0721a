"""Relaykit runs any ChatKitServer behind a queue.

These names are all that a site's code may import; `relaykit.examples` shows them in use. The packages below are
internal and may change in any release: `relaykit.api` and `relaykit.worker` are the two processes, `relaykit.shared` is
what both need, `relaykit.local` is the local mode. The command line is in `relaykit.cli`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relaykit.element import ELEMENT_FILE, ELEMENT_FILES
    from relaykit.shared.errors import AttachmentTooLarge, Fenced
    from relaykit.shared.identity import RequestContext, RequestHeaders
    from relaykit.shared.site.authentication import AuthenticatedUser, AuthRequest
    from relaykit.shared.site.current_user import current_user, current_user_of
    from relaykit.shared.site.site_process import SiteProcess
    from relaykit.shared.version import VERSION as __version__
    from relaykit.thread_import.sources import ThreadSource

__all__ = [
    "ELEMENT_FILE",
    "ELEMENT_FILES",
    "AttachmentTooLarge",
    "AuthRequest",
    "AuthenticatedUser",
    "Fenced",
    "RequestContext",
    "RequestHeaders",
    "SiteProcess",
    "ThreadSource",
    "__version__",
    "current_user",
    "current_user_of",
]

_HOMES = {
    "ELEMENT_FILE": ("relaykit.element", "ELEMENT_FILE"),
    "ELEMENT_FILES": ("relaykit.element", "ELEMENT_FILES"),
    "AttachmentTooLarge": ("relaykit.shared.errors", "AttachmentTooLarge"),
    "AuthRequest": ("relaykit.shared.site.authentication", "AuthRequest"),
    "AuthenticatedUser": ("relaykit.shared.site.authentication", "AuthenticatedUser"),
    "Fenced": ("relaykit.shared.errors", "Fenced"),
    "RequestContext": ("relaykit.shared.identity", "RequestContext"),
    "RequestHeaders": ("relaykit.shared.identity", "RequestHeaders"),
    "ThreadSource": ("relaykit.thread_import.sources", "ThreadSource"),
    "SiteProcess": ("relaykit.shared.site.site_process", "SiteProcess"),
    "__version__": ("relaykit.shared.version", "VERSION"),
    "current_user": ("relaykit.shared.site.current_user", "current_user"),
    "current_user_of": ("relaykit.shared.site.current_user", "current_user_of"),
}
"""The module and the name there of each public name. They are imported when first used, because the SDK takes a second
to import and `relaykit --help` needs nothing of it."""


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = home
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
