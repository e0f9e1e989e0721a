"""The settings of a site in memory, and its server as a worker loads it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chatkit.server import ChatKitServer
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from relaykit.shared.errors import ServerLoadError
from relaykit.shared.settings import Settings
from relaykit.shared.site.checks import unfit_context
from relaykit.shared.site.loaded_server import LoadedServer, load_server
from relaykit.shared.site.site_process import SiteProcess
from relaykit.shared.site.user_server import ContextFactory, UserServer
from relaykit.shared.token_box import KEY_BYTES
from relaykit.testing import attachments, limits


class _Settings(Settings):
    """Of what is given alone: a test does not depend on its environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def make_settings(given: Mapping[str, Any]) -> Settings:
    """The defaults of a deployment, but for these. Raises ValueError for a setting that there is not, or its value."""
    unknown = sorted(set(given) - set(Settings.model_fields))
    if unknown:
        raise ValueError(
            f"there is no setting {', '.join(unknown)}: names are those of .env.example, in lower case"
        )
    services = {"redis_url": "redis://memory", "database_url": "postgresql://memory/memory"}
    issuer = {"jwks_url": "https://issuer.invalid", "jwt_issuer": "memory", "jwt_audience": "memory"}
    tokens = {"forward_token": True, "forward_token_key": base64.b64encode(bytes(KEY_BYTES)).decode()}
    made = {**services, **issuer, **tokens, **attachments.SETTINGS, **limits.SETTINGS, **given}
    return _Settings(**made)


def load(server: Any, process: SiteProcess) -> LoadedServer:
    """The server as a worker loads it. `server`: its class, a factory, the server itself, or `module:attribute`."""
    settings = process.settings
    if isinstance(server, str):
        return load_server(replace(process, settings=settings.model_copy(update={"chatkit_server": server})))
    if isinstance(server, ChatKitServer):
        return load_server(process, server)
    name = getattr(server, "__qualname__", type(server).__name__)
    named = settings.model_copy(update={"chatkit_server": name})
    return load_server(replace(process, settings=named), source=server)


def with_context(user: UserServer, context: ContextFactory | None) -> UserServer:
    """The server with the test's own context in the place of CHATKIT_CONTEXT's. Raises ServerLoadError."""
    if context is None:
        return user
    if not callable(context):
        raise ServerLoadError(f"context={context!r}: is not callable")
    if unfit := unfit_context(context):
        raise ServerLoadError(f"context={context!r}: {unfit}")
    return replace(user, make_context=context)
