"""The environment of the API and worker processes: what is set, the site's `.env`, and what local mode adds."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from relaykit.local.data_directory import DataDirectory
from relaykit.local.errors import BadSetting, LocalModeError
from relaykit.local.local_settings import LocalSettings, site_folder
from relaykit.local.services import Services
from relaykit.shared.settings import LOCAL_JWKS_PATH

ENVIRONMENT_FILE = "env"
"""In the data folder: for a worker, or a shell, of one's own."""
_LOCAL_NAMES = ("APP_DIR", "CHATKIT_SERVER")


def site_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that have a value, with those of the file `.env` in the site's folder that are not set already.

    APP_DIR of that file is passed over, because it says where the file is. Raises BadSetting where it cannot be read.
    """
    file = site_folder(environ) / ".env"
    given = {name: value for name, value in environ.items() if value}
    try:
        found = dotenv_values(file) if file.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{file} cannot be read ({type(error).__name__}).") from error
    return {**{name: value for name, value in found.items() if value and name != "APP_DIR"}, **given}


def child_environment(
    given: Mapping[str, str], settings: LocalSettings, directory: DataDirectory, services: Services
) -> dict[str, str]:
    """PORT aside. What is given stays, but for services that are named while others run; what is not gets a value."""
    local = _local(settings, directory, services)
    if "JWT_SECRET" in given:  # the local issuer signs with it
        del local["JWKS_URL"]
    return {
        **local,
        **given,
        "REDIS_URL": services.redis_url,
        "DATABASE_URL": services.database_url,
        "APP_DIR": str(settings.folder),
    }


def write_environment(directory: DataDirectory, environment: Mapping[str, str]) -> Path:
    """A file that a shell reads, with what differs from the caller's own environment. Its owner alone may read it.

    set -a; . .relaykit/env; set +a; relaykit worker

    Raises LocalModeError.
    """
    path = directory.path / ENVIRONMENT_FILE
    lines = [
        f"{name}={shlex.quote(value)}\n"
        for name, value in environment.items()
        if os.environ.get(name) != value or name in _LOCAL_NAMES
    ]
    fresh = path.with_name(f"{ENVIRONMENT_FILE}.new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.writelines(lines)
        fresh.replace(path)
    except OSError as error:
        raise LocalModeError(f"{path} cannot be written ({error.strerror}).") from error
    return path


def _local(settings: LocalSettings, directory: DataDirectory, services: Services) -> dict[str, str]:
    return {
        "JWKS_URL": f"{settings.address}{LOCAL_JWKS_PATH}",
        "JWT_ISSUER": settings.address,
        "JWT_AUDIENCE": "relaykit-local",
        "LOCAL_ISSUER_KEY_FILE": str(directory.path / "issuer.pem"),
        "PUBLIC_URL": settings.address,
        "ATTACHMENTS_URL": (directory.path / "attachments").as_uri(),
        "ATTACHMENTS_KEY": directory.secret("attachments.key"),
        "LOG_FORMAT": "console",
        "LOG_EXCEPTIONS": "full" if services.are_ours else "places",
        "SHUTDOWN_DELAY_SECONDS": str(settings.shutdown_delay_seconds),
        "DRAIN_SECONDS": str(settings.drain_seconds),
        "BLOCKED_SECONDS": "0",  # a debugger stops the loop for as long as it likes
        "HOST": settings.host,
        # the page's link to the console gets a token with both from the local issuer
        "OPS_CLAIM": "ops",
        "OPS_CONTENT_CLAIM": "ops_content",
    }
