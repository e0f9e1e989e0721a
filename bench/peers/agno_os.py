"""One replica of Agno's AgentOS in queue mode, with an agent whose model answers as bench.systems.server does.

`.venv-peers/bin/python -m bench.peers.agno_os`: PORT, DATABASE_URL and REDIS_URL of its own database and numbered
database, MAX_RUNS; CLAIMS=0 for a replica that takes requests and leaves the runs to others.

As docs.agno.com has it for several replicas: `PostgresDb`, `QueueConfig(durable=True, redis=...)`, `serve()`; what
differs from its defaults says why.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from agno.agent import Agent
from agno.db.postgres import PostgresDb
from agno.models.base import Model
from agno.models.response import ModelResponse
from agno.os import AgentOS, QueueConfig

from bench.systems.timestamps import stamp

AGENT = "bench"


class ScriptedModel(Model):  # type: ignore[misc]  # mypy sees nothing of Agno, which is not in its environment
    """Needs no provider: each message is a bench.systems.server.Script, and the answer what it says."""

    async def ainvoke_stream(self, messages: list[Any], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        script = json.loads(messages[-1].content)
        started_at = time.monotonic()
        for number in range(script["deltas"]):
            if script["per_second"]:
                await asyncio.sleep(max(0.0, started_at + number / script["per_second"] - time.monotonic()))
            yield ModelResponse(content=stamp())

    async def ainvoke(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("it streams, and nothing else")

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("it streams, and nothing else")

    def invoke_stream(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("it streams from an event loop, and nothing else")

    def _parse_provider_response(self, response: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("there is no provider")

    def _parse_provider_response_delta(self, response: Any) -> Any:
        raise NotImplementedError("there is no provider")


class AcceptingDb(PostgresDb):  # type: ignore[misc]
    """Of a replica that only takes requests. Agno has no setting for one: each of its replicas is a worker as well."""

    def claim_job(self, *args: Any, **kwargs: Any) -> None:
        """There is never a job for this one."""


def main() -> None:
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
    db = PostgresDb(db_url=url) if os.environ["CLAIMS"] == "1" else AcceptingDb(db_url=url)
    agent = Agent(
        id=AGENT,
        model=ScriptedModel(id="scripted"),
        db=db,
        telemetry=False,  # it would report each run over the internet
    )
    agent_os = AgentOS(
        agents=[agent],
        db=db,
        queue=QueueConfig(
            durable=True,
            redis=os.environ["REDIS_URL"],
            max_concurrency=int(os.environ["MAX_RUNS"]),  # 32 by default: it would bound what is measured
        ),
        telemetry=False,
    )
    agent_os.serve(app=agent_os.get_app(), host="127.0.0.1", port=int(os.environ["PORT"]))


if __name__ == "__main__":
    main()
