"""Well-formed text. A browser and a model cut strings between UTF-16 units: half an emoji is a lone surrogate.

Neither UTF-8 nor PostgreSQL takes a lone surrogate. Here two halves that follow each other become their character,
and a lone one becomes U+FFFD, as `String.prototype.toWellFormed()` does in a browser.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel

T = TypeVar("T")

_HALF: Final = re.compile("[\ud800-\udfff]")
_ESCAPES: Final = re.compile(
    rb"((?:\\[^u][^\\]*)+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"  # stays as it is
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"  # a lone half
)
_REPLACEMENT: Final = rb"\ufffd"


def is_well_formed(text: str) -> bool:
    return text.isascii() or _HALF.search(text) is None


def well_formed(text: str) -> str:
    """The text without lone surrogates; the same object where it has no surrogate."""
    if is_well_formed(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def well_formed_escapes(body: bytes) -> bytes:
    r"""JSON text in which each lone half that is spelt as an escape, such as `\ud83d`, is spelt as `\ufffd`."""
    return _ESCAPES.sub(lambda found: found[1] or _REPLACEMENT, body)


def well_formed_copy(value: T) -> T:
    """The value with each of its texts well-formed, in models, lists, sets and dictionaries at any depth.

    What has no halves is not copied, and nothing is changed in place.
    """
    return cast(T, _copy(value))


def dump_json(model: BaseModel, **options: Any) -> str:
    """`model.model_dump_json`, of a well-formed copy where the model has halves."""
    try:
        return model.model_dump_json(**options)
    except ValueError:  # pydantic's PydanticSerializationError is one
        return well_formed_copy(model).model_dump_json(**options)


def _copy(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, BaseModel):
        changed = _changed(value.__dict__)
        extra = _changed(value.__pydantic_extra__ or {})
        return value.model_copy(update={**changed, **extra}) if changed or extra else value
    if isinstance(value, dict):
        copied = {_copy(key): _copy(entry) for key, entry in value.items()}
        same = all(
            key is old_key and entry is old
            for (key, entry), (old_key, old) in zip(copied.items(), value.items(), strict=False)
        )
        return value if same and len(copied) == len(value) else copied
    if isinstance(value, list | tuple):
        entries = [_copy(entry) for entry in value]
        if all(entry is old for entry, old in zip(entries, value, strict=True)):
            return value
        return entries if isinstance(value, list) else tuple(entries)
    if isinstance(value, set | frozenset):
        mended = [_copy(entry) for entry in value]
        if all(entry is old for entry, old in zip(mended, value, strict=True)):
            return value
        return set(mended) if isinstance(value, set) else frozenset(mended)
    return value


def _changed(fields: dict[str, Any]) -> dict[str, Any]:
    copies = ((name, value, _copy(value)) for name, value in fields.items())
    return {name: copied for name, value, copied in copies if copied is not value}
