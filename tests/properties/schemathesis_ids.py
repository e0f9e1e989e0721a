"""A hook of schemathesis: half of its requests name what is there, not what it made up.

FUZZ_IDS holds them as JSON: lists of `thread_id`, `item_id`, `run_id` and `attachments`, and the `links` to the latter.
"""

from __future__ import annotations

import json
import os
import zlib
from typing import Any

import schemathesis

IDS: dict[str, list[str]] = json.loads(os.environ["FUZZ_IDS"])
_NAMES = {"attachment_id": "attachments", "item_ids": "item_id", "after": "item_id"}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    choice = zlib.crc32(repr((case.path, case.path_parameters, case.body)).encode())
    if choice % 2:
        return
    for name in case.path_parameters or {}:
        if name == "attachment_id":
            link = _pick("links", choice)
            case.path_parameters[name] = link["attachment_id"]
            case.query.update(link["query"])
        else:
            case.path_parameters[name] = _pick(name, choice)
    if isinstance(case.body, dict):
        _name(case.body, choice)


def _name(body: dict[str, Any], choice: int) -> None:
    for key, value in body.items():
        name = _NAMES.get(key, key)
        if name in IDS and isinstance(value, str):
            body[key] = _pick(name, choice)
        elif name in IDS and isinstance(value, list):
            body[key] = [_pick(name, choice + place) for place in range(len(value))]
        elif isinstance(value, dict):
            _name(value, choice)


def _pick(name: str, choice: int) -> Any:
    return IDS[name][(choice >> 1) % len(IDS[name])]
