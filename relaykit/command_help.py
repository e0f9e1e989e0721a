"""What `relaykit COMMAND --help` says. It imports no other module of the product, because help comes at once."""

from __future__ import annotations

from textwrap import fill
from typing import NamedTuple

COLUMNS = 100

EPILOG = fill(
    "Settings are environment variables; .env.example in the repository lists all of them, with defaults and units. "
    "An empty one counts as not set. The exit status is 0 after the work, or after a stop that was asked for; 1 after "
    "a failure; 2 where the command or a setting is wrong, or a process cannot start.",
    COLUMNS,
)


class Setting(NamedTuple):
    """A line of a command's help. `default` is "" where there is none, and None where the setting is required."""

    name: str
    default: str | None
    meaning: str

    def line(self, width: int) -> str:
        """The name and, beside it, what it means."""
        ends = {None: " Required.", "": ""}
        text = self.meaning + ends.get(self.default, f" Default: {self.default}.")
        begin = f"  {self.name}".ljust(width)
        return fill(
            text, COLUMNS, initial_indent=begin, subsequent_indent=" " * width, break_long_words=False
        )


SERVICES = (
    Setting("REDIS_URL", None, "URL of Redis 6.2 or newer, of Valkey, or of their sentinels."),
    Setting("DATABASE_URL", None, "URL of PostgreSQL, as libpq reads it."),
)
TOKENS = (
    Setting("JWKS_URL", "", "URL of the public keys of the tokens' issuer; or JWT_SECRET, or AUTHENTICATE."),
    Setting("JWT_ISSUER", "", "The `iss` of the tokens, where there are tokens."),
    Setting("JWT_AUDIENCE", "", "The `aud` of the tokens, where there are tokens."),
)
SERVER = Setting(
    "CHATKIT_SERVER",
    "relaykit.examples.assistant:AssistantServer",
    "Your ChatKitServer as package.module:attribute: a subclass, an instance or a factory.",
)
STORAGE = (
    Setting(
        "CHATKIT_STORE", "postgres", "Where threads are: postgres, or own, the store of the site's server."
    ),
    Setting("ATTACHMENTS_URL", "", "Where the bytes of attachments are."),
)
HOST = Setting("HOST", "127.0.0.1", "Address that the API listens on.")
PORT = Setting("PORT", "8000", "Port of the API; 0 takes a free one.")
DRAIN = "Seconds that runs and streams may go on after SIGTERM."
DELAY = "Seconds after SIGTERM for which the API still takes requests."

LOCAL = (
    Setting("REDIS_URL", "", "URL of a Redis to use instead of one of its own."),
    Setting("DATABASE_URL", "", "URL of a PostgreSQL to use instead of one of its own."),
    SERVER,
    Setting("APP_DIR", ".", "Folder of your server: where its code runs, and whose files are watched."),
    HOST,
    PORT,
    Setting("API_PROCESSES", "1", "API processes, on PORT, PORT+1 and so on."),
    Setting("WORKERS", "1", "Worker processes."),
    Setting("DATA_DIR", ".relaykit", "Folder of the services' data, of logs, keys and attachments."),
    Setting("SHUTDOWN_DELAY_SECONDS", "0", DELAY),
)

DESCRIPTIONS: dict[str, tuple[str, tuple[Setting, ...]]] = {
    "api": (
        "Runs one API process, until SIGTERM. It authenticates requests, puts runs on the queue, and sends their "
        "events to the clients. It never runs an agent. Run one process for each core, behind a load balancer.",
        (
            *SERVICES,
            *TOKENS,
            SERVER,
            HOST,
            PORT,
            Setting("SHUTDOWN_DELAY_SECONDS", "5", DELAY),
            Setting("DRAIN_SECONDS", "25", DRAIN),
        ),
    ),
    "worker": (
        "Runs one worker process, until SIGTERM. It takes runs from the queue, executes your server for each, and "
        "writes the events. Run as many processes as the runs need, under a supervisor that starts them again.",
        (
            *SERVICES,
            *TOKENS,
            SERVER,
            Setting("MAX_RUNS", "100", "Runs that the process executes at once."),
            Setting("LEASE_SECONDS", "10", "Seconds after which a run whose worker is lost goes to another."),
            Setting("DRAIN_SECONDS", "25", DRAIN),
            Setting("WORKER_PORT", "0", "Port for /healthz, /readyz and /metrics; 0 opens none."),
        ),
    ),
    "migrate": (
        "Brings the schema of the database up to date. Run it once for each release, before the new processes start; "
        "several hosts may run it at the same time. The old processes go on meanwhile.",
        (SERVICES[1],),
    ),
    "new": (
        "Writes a site into an empty folder: chat.py with a ChatKitServer, web.py and page.html with a page, a test, "
        "pyproject.toml, .env, a Dockerfile and a README. Nothing is written over. `relaykit dev` runs it.",
        (),
    ),
    "dev": (
        "Runs all of Relaykit on this machine for the server of this folder, until Ctrl-C: an API, a worker, a page to "
        "chat on, and Redis and PostgreSQL where their URLs are not set. A file that is saved is loaded anew, the log "
        "is on the terminal, and what ends is started again. Settings may stand in .env. It needs the extra: "
        "pip install 'relaykit[local]'.",
        (*LOCAL, Setting("DRAIN_SECONDS", "0", DRAIN)),
    ),
    "local": (
        "Does what dev does, but for watching the files.",
        (*LOCAL, Setting("DRAIN_SECONDS", "5", DRAIN)),
    ),
    "import-threads": (
        "Copies the threads, items and attachments of another ChatKit store into Relaykit's. It may be stopped, and "
        "run again: what stands here already is not written again, what has changed in the other store since is "
        "brought up to date, and what was changed or deleted here is left alone. The status is 1 where a thread could "
        "not be brought.",
        (SERVICES[1], Setting("ATTACHMENTS_URL", "", "Where the bytes of attachments go.")),
    ),
    "status": (
        "Shows the services, the queue's figures, the workers, the runs that have ended within an hour by status and "
        "error, and what operators have done last. The status is 1 where a service is away.",
        (*SERVICES, *TOKENS),
    ),
    "runs": (
        "Finds runs of every user, shows one, stops runs, makes them again or due now. Each act is a row of the table "
        "operator_acts. Texts of users and models are shown with --content alone.",
        (
            *SERVICES,
            *TOKENS,
            Setting("LEASE_SECONDS", "10", "Seconds after which a run whose worker is lost goes to another."),
        ),
    ),
    "queue": (
        "Shows how many runs are due, running and waiting, and the callers that have most of them.",
        (*SERVICES, *TOKENS),
    ),
    "threads": (
        "Shows a thread of any user, exports it, or erases it with all that belongs to it.",
        (*SERVICES, *TOKENS, *STORAGE),
    ),
    "users": (
        "Exports or erases all that is here of a user. With CHATKIT_STORE=own the threads are the site's own to export "
        "and erase.",
        (*SERVICES, *TOKENS, *STORAGE),
    ),
    "workers": (
        "Lists the workers, or has some of them end as after SIGTERM.",
        (*SERVICES, *TOKENS),
    ),
    "check": (
        "Checks whether a process can start with these settings. It prints one line for each part: the settings, your "
        "server, your application, PostgreSQL, the schema, your lifespan and Redis.",
        (*SERVICES, *TOKENS, SERVER),
    ),
}
"""By command: what it does, and the settings that matter to it most."""


def wrapped(text: str) -> str:
    return fill(text, COLUMNS)


def description(command: str) -> str:
    """Sentences, and a line for each setting."""
    text, settings = DESCRIPTIONS[command]
    if not settings:
        return wrapped(text)
    width = max(len(each.name) for each in settings) + 4
    return "\n".join([wrapped(text), "", "settings:", *(each.line(width) for each in settings)])
