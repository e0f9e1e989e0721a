"""Lua scripts: their texts, and calls of several in one round trip. A script's file stands beside its only caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

from relaykit.shared.redis.client import Redis, redis_errors


def script(*files: Path) -> str:
    """The texts of Lua files, one after the other: what several scripts need stands in front of each."""
    return "\n".join(file.read_text() for file in files)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a script; safe to repeat."""

    script: AsyncScript
    keys: Sequence[str]
    args: Sequence[Any]


async def call(redis: Redis, *calls: Call) -> list[Any]:
    """Calls scripts one after the other, in one round trip, and gives their replies. Raises QueueUnavailable."""
    with redis_errors():
        replies = await _called(redis, calls)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            for each in calls:
                await redis.script_load(each.script.script)
            replies = await _called(redis, calls)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
    return replies


async def _called(redis: Redis, calls: Sequence[Call]) -> list[Any]:
    async with redis.pipeline(transaction=False) as pipeline:
        for each in calls:
            pipeline.evalsha(each.script.sha, len(each.keys), *each.keys, *each.args)
        return list(await pipeline.execute(raise_on_error=False))
