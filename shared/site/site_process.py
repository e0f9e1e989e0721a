"""What a site's lifespan is told of the process that it is entered in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from chatkit.store import AttachmentStore, Store

from relaykit.shared.settings import Settings


@dataclass(frozen=True, slots=True)
class SiteProcess:
    """The process, for `CHATKIT_LIFESPAN`."""

    role: Literal["api", "worker"]
    """A worker's quarantine executes runs in processes of their own: each of those is a worker too."""
    settings: Settings = field(repr=False)
    """Every setting, by its name in small letters."""
    store: Store[Any] = field(repr=False)
    """Relaykit's store: a server that the lifespan makes is built around it. It can be used from now on."""
    attachment_store: AttachmentStore[Any] | None = field(default=None, repr=False)
    """Relaykit's, where ATTACHMENTS_URL is set."""
