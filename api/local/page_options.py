"""What the site's server offers in the demo page: its attribute `relaykit_page_options`, which is JSON."""

from __future__ import annotations

import inspect
import json
from typing import Final

from relaykit.shared.errors import ServerLoadError

ATTRIBUTE: Final = "relaykit_page_options"
MAX_BYTES: Final = 1024 * 1024


def page_options(server: object) -> bytes:
    """Read as it lies on the server, past properties and `__getattr__`; `{}` where it has no such attribute.

    Raises ServerLoadError where the attribute is anything else than a dict of JSON.
    """
    found = inspect.getattr_static(server, ATTRIBUTE, {})
    if type(found) is not dict:
        raise ServerLoadError(
            f"{ATTRIBUTE} of {type(server).__name__}: is a {type(found).__name__}, not a dict"
        )
    try:
        text = json.dumps(found, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ServerLoadError(f"{ATTRIBUTE} of {type(server).__name__}: is no JSON") from error
    if len(text) > MAX_BYTES:
        raise ServerLoadError(f"{ATTRIBUTE} of {type(server).__name__}: has more than {MAX_BYTES} bytes")
    return text
