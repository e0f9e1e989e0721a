"""What a setting names in the site's code: found, or refused in one line that says where it failed."""

from __future__ import annotations

import importlib
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from relaykit.shared.errors import ServerLoadError
from relaykit.shared.settings import Settings
from relaykit.shared.site.load_loop import TOO_EARLY, StartsTask, unrun_loop, wants_loop
from relaykit.shared.site.shadow import SHADOWED, is_shadowed

STANDARD_LIBRARY: Final = sysconfig.get_path("stdlib")

_ABSENT: Final = object()
_NO_YIELD: Final = "generator didn't yield"
"""What contextlib says of a context manager's function."""


def add_site_folder(settings: Settings) -> None:
    """Has Python look for the site's modules in its folder. Raises ServerLoadError where one takes our name."""
    folder = str(settings.app_dir or Path.cwd())
    if is_shadowed(Path(folder)):
        raise ServerLoadError(SHADOWED.format(folder=folder))
    if folder not in sys.path:
        sys.path.insert(0, folder)


@contextmanager
def loading(label: str) -> Iterator[None]:
    """The site's code in the block is run before the loop is; what it raises leaves as ServerLoadError, in one line."""
    try:
        with unrun_loop():
            yield
    except ServerLoadError:
        raise
    except StartsTask as error:
        raise ServerLoadError(f"{label}: it starts tasks: {TOO_EARLY}") from error
    except BaseException as error:
        raise ServerLoadError(f"{label}: {describe_error(error)}") from error


def load_attribute(variable: str, name: str) -> Any:
    """What `package.module:attribute` is. Raises ServerLoadError, which names `variable`, the setting."""
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
        raise ServerLoadError(f"{variable}={name}: {describe_error(error)}") from error
    return found


def describe_error(error: BaseException) -> str:
    """What a line says of an exception out of the user's code: its type and its place.

    Its text may hold a secret, such as the password in an address. Python's own words about a module that is absent or
    cannot be read hold names alone.
    """
    kind = type(error).__name__
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{kind}: No module named {error.name!r}"
    if isinstance(error, SyntaxError):
        return f"{kind}: {error.msg} ({Path(error.filename or '?').name}, line {error.lineno})"
    if isinstance(error, RuntimeError) and str(error) == _NO_YIELD:
        return "it ends without a `yield`"
    place = site_place(traceback.extract_tb(error.__traceback__))
    if place is None:
        return kind
    hint = f": {TOO_EARLY}" if wants_loop(error) else ""
    return f"{kind} at {place}{hint}"


def site_place(frames: traceback.StackSummary) -> str | None:
    """The innermost line of the site's own code; else of a library's, else None."""
    theirs = [frame for frame in frames if not _is_pythons_or_ours(frame.filename)]
    if not theirs:
        return None
    own = [frame for frame in theirs if not _is_a_librarys(frame.filename)]
    frame = (own or theirs)[-1]
    return f"{frame.filename}:{frame.lineno} in {frame.name}"


def _is_pythons_or_ours(filename: str) -> bool:
    return filename.startswith(("<frozen ", str(Path(__file__).parent))) or filename == importlib.__file__


def _is_a_librarys(filename: str) -> bool:
    return "site-packages" in filename or filename.startswith(STANDARD_LIBRARY)
