"""What each log line of an attempt says of its run."""

from __future__ import annotations

from relaykit.shared.log import who
from relaykit.shared.runs.run import Run
from relaykit.shared.tracing.spans import carrier_in, trace_id_in


def log_fields(run: Run) -> dict[str, str]:
    """The thread, who owns it, the request that the run came with, and its trace."""
    request_id = run.context.get("request_id")
    request = {"request_id": request_id} if request_id else {}
    carrier = carrier_in(run.context)
    trace = {} if carrier is None else {"trace_id": trace_id_in(carrier)}
    return {"thread_id": run.thread_id, **who(run.owner), **request, **trace}
