"""The queue and the journals as the release before uses them: its scripts, its keys, its message, spelt out."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from redis.asyncio import Redis

from tests.previous import script

Entry = tuple[bytes, bytes]
"""Field and payload: `e` an event, `m` an attempt start, `end` the end."""

LOST, HELD, CANCEL = 0, 1, 2
"""What a renewal says of a lease."""


class PreviousQueue:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._enqueue = redis.register_script(script("enqueue"))
        self._claim = redis.register_script(script("claim"))
        self._renew = redis.register_script(script("renew"))
        self._release = redis.register_script(script("release"))

    async def enqueue(self, run_id: str) -> bool:
        message = {"t": None, "f": "run", "a": [run_id], "k": {}, "et": int(time.time() * 1000)}
        return bool(
            await self._enqueue(
                keys=["arq:queue", f"arq:job:{run_id}", "relaykit:bell"],
                args=[run_id, json.dumps(message, separators=(",", ":")), 86_400_000, 60],
            )
        )

    async def enqueue_cron(self) -> str:
        """As arq's cron of its workers does, for the reaper; the job's id."""
        job_id = f"reaper:{int(time.time() * 1000)}"
        message = {"t": None, "f": "reaper", "a": [], "k": {}, "et": int(time.time() * 1000)}
        await self._redis.set(f"arq:job:{job_id}", json.dumps(message), px=86_400_000)
        await self._redis.zadd("arq:queue", {job_id: int(time.time() * 1000)})
        return job_id

    async def claim(self, free: int, lease_seconds: float, token: str) -> list[str]:
        arguments = [free, int(lease_seconds * 1000), token]
        taken = await self._claim(keys=["arq:queue", "arq:in-progress:"], args=arguments)
        return [run_id.decode() for run_id in taken]

    async def renew(self, run_id: str, token: str, lease_seconds: float, journal_ttl_seconds: float) -> int:
        (state,) = await self._renew(
            keys=[
                "arq:queue",
                f"arq:in-progress:{run_id}",
                f"run:{{{run_id}}}:events",
                f"run:{{{run_id}}}:cancel",
            ],
            args=[int(lease_seconds * 1000), int(journal_ttl_seconds * 1000), run_id, token],
        )
        return int(state)

    async def release(self, run_id: str, token: str, *, done: bool) -> bool:
        return bool(
            await self._release(
                keys=[
                    "arq:queue",
                    f"arq:in-progress:{run_id}",
                    f"arq:job:{run_id}",
                    f"arq:retry:{run_id}",
                    "relaykit:bell",
                ],
                args=[run_id, token, "done" if done else "again", 60],
            )
        )

    async def discard(self, run_id: str) -> None:
        await self._redis.zrem("arq:queue", run_id)
        await self._redis.delete(f"arq:job:{run_id}", f"arq:retry:{run_id}")

    async def signal_cancel(self, run_id: str, flag_seconds: float) -> None:
        await self._redis.set(f"run:{{{run_id}}}:cancel", "1", px=int(flag_seconds * 1000))
        await self._redis.publish("relaykit:signals", run_id)


class PreviousJournals:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._append = redis.register_script(script("append"))

    async def append(
        self, run_id: str, attempt: int, first_seq: int, entries: Sequence[Entry], ttl_seconds: float = 60
    ) -> str:
        """`first_seq` 0: after whatever is there. ok, fenced or ended."""
        is_end = entries[-1][0] == b"end"
        arguments: list[bytes | str | int] = [attempt, first_seq, f"run:{{{run_id}}}:news"]
        arguments += [int(ttl_seconds * 1000), "1" if is_end else "", ""]
        arguments += [part for entry in entries for part in entry]
        outcome, _, _ = await self._append(keys=[f"run:{{{run_id}}}:events"], args=arguments)
        return outcome.decode()

    async def read(self, run_id: str) -> list[tuple[str, Entry]]:
        """Id, field and payload. Its reader takes these three fields alone, and one a record."""
        found = []
        for record_id, record in await self._redis.xrange(f"run:{{{run_id}}}:events"):
            ((field, payload),) = record.items()
            assert field in (b"e", b"m", b"end"), field
            found.append((record_id.decode(), (field, payload)))
        return found
