"""Why an attempt stops before its end."""

from __future__ import annotations

from enum import StrEnum


class Stop(StrEnum):
    USER = "user"
    """The user's stop: the partial answer and the SDK's note are kept."""
    TIMEOUT = "timeout"
    """RUN_TIMEOUT_SECONDS are over: the partial answer is kept, without a note that the user stopped it."""
    ABANDONED = "abandoned"
    """No client has followed the run for ABANDON_SECONDS: the partial answer is kept, as after a time-out."""
    DRAIN = "drain"
    """The worker drains: the run is handed back, and its next attempt begins anew. The partial answer is kept till
    then, because a stop may come before."""
    LOST = "lost"
    """The lease is another worker's: nothing may be written."""
