"""Every Redis key and channel, each with its reason. Nothing else in the product spells one.

A deployment that has a name (DEPLOYMENT) has it in front of each: `Names` puts it there, wherever a key is used.
All keys but the queue itself carry a time to live. No command newer than Redis 6.2 is used.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from arq.constants import default_queue_name, in_progress_key_prefix, job_key_prefix, retry_key_prefix

QUEUE = default_queue_name
"""arq's sorted set of job ids. The score is the time, in ms of Redis's clock, at which a job is due; it is negative for
a job that is due already and has its place in the fair order."""

JOB_PREFIX = job_key_prefix
"""arq's message of a job. Lives for a day: a job that waits longer is queued again from its row."""

LEASE_PREFIX = in_progress_key_prefix
"""arq's in-progress key, here a lease: the value is its holder's token, the time to live is the lease."""

TRIES_PREFIX = retry_key_prefix
"""arq's count of tries; written by arq's run_job and deleted with the job. The run row counts attempts."""

BELL = "relaykit:bell"
"""A list that admission pushes to and idle workers pop from, so that pick-up does not wait for a poll."""

BELL_TTL_SECONDS = 60
"""A ring is worth nothing once every worker has polled."""

SIGNALS = "relaykit:signals"
"""Channel, heard by every worker: the id of a run to be cancelled, or `drain_signal` of a worker."""

HUB = "relaykit:hub"
"""Never published to. Subscribing to it opens the hub's connection before the first follower."""

REAPED = "relaykit:reaped"
"""Set by the reaper's round until the next is due, so that many workers do not look at all runs as many times."""

WORKERS = "relaykit:workers"
"""A sorted set of the workers that are there, by when each is forgotten unless it says again that it is there."""

WORKER_PREFIX = "relaykit:worker:"
"""What a worker says of itself, JSON. Lives until it is forgotten."""

WORKERS_SEEN = "relaykit:workers-seen"
"""A sorted set of the workers that have not withdrawn, by when each last said that it is there: what was killed, frozen
or cut off can be named for a while."""

WORKER_SEEN_PREFIX = "relaykit:worker-seen:"
"""What a worker has last said of itself, JSON. Outlives the worker."""

WORKER_SEEN_SECONDS = 900
"""For how long a worker that is silent can be named."""

QUEUE_STATE = "relaykit:queue-state"
"""What an API has found of queue and workers, JSON, for all APIs: it is asked once, however many they are."""

QUEUE_STATE_ASKING = "relaykit:queue-state-turn"
"""Held by the API that asks, until the next may."""

RATE_PREFIX = "relaykit:rate:"
"""A caller's rate: the theoretical arrival time (TAT) of its next request, in ms. Lives until then."""

TENANT_RATE_PREFIX = "relaykit:tenant-rate:"
"""A tenant's rate, likewise."""

FAIR_PREFIX = "relaykit:fair:"
"""The fair order of the due jobs; shared/queue/fair.lua lists its keys. Digests stand for tenants and callers."""

FAIR_TTL_SECONDS = 86_400
"""Counts from the last use of a key. The reaper gives jobs that have waited longer a position again."""

BYTES_PREFIX = "relaykit:bytes:"
"""A caller's bytes: the theoretical arrival time (TAT) of its next byte, in ms. Lives until then."""

UNBEGUN_JOURNAL_TTL_SECONDS = 60
"""Time to live of the journal of a run that ended without ever having begun: it says no more than the thread does."""

MISSING_PREFIX = "relaykit:missing:"
"""When the reaper first saw a run without lease and job: it acts only where that lasts."""

DATABASE = "relaykit:database"
"""The identity of the PostgreSQL database whose runs these keys are about: another deployment, which would have the
same keys, reads it when it starts."""

DATABASE_TTL_SECONDS = 15
"""Counts from the reaper's last round, or the last look at an API's readiness: three rounds may fail."""

RUN_PREFIX = "run_"
"""How a run's id begins. An id on the queue that does not is another application's job."""


@dataclass(frozen=True, slots=True)
class Names:
    """Puts a deployment's name in front of its keys and channels; without a name they are as they are."""

    deployment: str = ""

    def __call__(self, name: str) -> str:
        return f"{self.deployment}:{name}" if self.deployment else name

    def each(self, *names: str) -> list[str]:
        return [self(name) for name in names]


def journal(run_id: str) -> str:
    """The run's events, a stream."""
    return f"run:{{{run_id}}}:events"


def entry_times(run_id: str) -> str:
    """When the run's entries were written, a stream of notes; only where OPS_CLAIM is on. Lives as the journal does."""
    return f"run:{{{run_id}}}:times"


def notices(run_id: str) -> str:
    """Channel: something was appended to the run's journal. A notice carries the entries where they are short; a reader
    takes them from it only where they follow what it has, because the journal is the only truth."""
    return f"run:{{{run_id}}}:news"


def cancel_flag(run_id: str) -> str:
    """Set when a running run is to be cancelled, for a worker that missed the signal; its heartbeat reads it."""
    return f"run:{{{run_id}}}:cancel"


def received(run_id: str) -> str:
    """Set once a client has had something of the run, so that the same body sent again is another message.

    It holds until the row says so, and it is all that the release before looks at.
    """
    return f"run:{{{run_id}}}:received"


def delivered(run_id: str) -> str:
    """Set once a client that had asked for the run by a POST was sent all of it: it will not ask for the rest.

    It lives as long as an ended journal: without it the run may be the one that a client reconnects to.
    """
    return f"run:{{{run_id}}}:delivered"


def followed(run_id: str) -> str:
    """Set for as long as a client follows the run; only where ABANDON_SECONDS is on."""
    return f"run:{{{run_id}}}:followed"


def rate(caller: str) -> str:
    """`caller` is a digest: names of users stay out of Redis."""
    return f"{RATE_PREFIX}{caller}"


def tenant_rate(tenant: str) -> str:
    """`tenant` is a digest too."""
    return f"{TENANT_RATE_PREFIX}{tenant}"


def spent_bytes(caller: str) -> str:
    """`caller` is a digest here too."""
    return f"{BYTES_PREFIX}{caller}"


def admitting(caller: str, idempotency_key: str) -> str:
    """Held while a request with this key is written to a store that is not ours, which takes nothing back."""
    digest = hashlib.sha256(idempotency_key.encode()).hexdigest()[:32]
    return f"relaykit:admitting:{caller}:{digest}"


def acting(caller: str, thread_id: str, item_id: str) -> str:
    """Held while an action is answered at once, which loads its widget and writes it again as a whole."""
    digest = hashlib.sha256(f"{thread_id}\x1f{item_id}".encode()).hexdigest()[:32]
    return f"relaykit:acting:{caller}:{digest}"


def lease(run_id: str) -> str:
    return f"{LEASE_PREFIX}{run_id}"


def worker(worker_id: str) -> str:
    return f"{WORKER_PREFIX}{worker_id}"


def worker_seen(worker_id: str) -> str:
    return f"{WORKER_SEEN_PREFIX}{worker_id}"


def drain_signal(worker_id: str) -> str:
    """A message on SIGNALS, no key: this worker is to drain. To a release before this one it names no run."""
    return f"drain:{worker_id}"


def job(run_id: str) -> str:
    return f"{JOB_PREFIX}{run_id}"


def tries(run_id: str) -> str:
    return f"{TRIES_PREFIX}{run_id}"
