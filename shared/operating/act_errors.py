"""Why an act was not done."""

from __future__ import annotations

from relaykit.shared.errors import RelaykitError


class ActRefused(RelaykitError):
    """The run or worker is not in a state that allows this act. Nothing was done."""

    code = "act_refused"


class RetryFailed(RelaykitError):
    """The site's code failed. Nothing was done."""

    code = "retry_failed"


class WorkerNotFound(RelaykitError):
    """There is no such worker."""

    code = "worker_not_found"


class UserNotFound(RelaykitError):
    """Nothing of this user is here."""

    code = "user_not_found"


class RunHeld(RelaykitError):
    """A worker does not let go of a run that has ended."""

    code = "run_held"
