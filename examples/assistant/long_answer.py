"""A long answer in Markdown: what happens to a message, told as often as it takes."""

from __future__ import annotations

import re
from itertools import cycle

_TOKEN = re.compile(r"\s*[\w']{1,6}|\s*[^\w\s]{1,3}|\s+")

PARAGRAPHS = (
    "A message begins in a browser as one POST request. Before anything else happens, the caller's token is "
    "checked, and whatever the request could be refused for is refused while that is still possible: before the "
    "first byte of the answer.",
    "What the caller sent is then **written down**. The thread, the message and the run are rows in PostgreSQL, "
    "and from that moment on the message is accepted. The entry in the queue is only a wake-up; losing it loses no "
    "message.",
    "A worker claims the run. Its claim is a *lease*: it ends by itself unless it is renewed, so a worker that dies "
    "needs nobody to notice that it died.\n\n- the attempt is counted in PostgreSQL\n- the lease is kept in Redis\n"
    "- whoever comes later has the higher number, and the higher number wins",
    "The worker runs the agent and appends what comes out to the run's journal, a Redis stream:\n\n"
    "```text\n1-1  thread.item.added\n1-2  thread.item.updated\n1-3  thread.item.updated\n```\n\n"
    "Each entry has an id that can only grow, and that id is the cursor a client keeps.",
    "The relay reads the journal and writes it to every client that follows the run. It never waits for the slowest "
    "of them: each client is no more than a position in the journal, and goes at its own pace.",
    "When a connection breaks, nothing stops. The client comes back with the last cursor it has, perhaps to another "
    "host, and receives exactly what comes after it: no gap, and nothing twice.",
    "Stopping is a thing of its own:\n\n| what happens | what it means |\n|---|---|\n| the connection drops | the "
    "answer goes on |\n| the user presses Stop | the answer ends here, and its text is kept |\n| a worker goes away | "
    "another one takes over |",
    "At the end the journal says so. A stream that ends without that word has only been interrupted, and a client "
    "knows that it should ask again. The thread itself is in PostgreSQL, where it was all along.",
)


def long_answer(paragraphs: int) -> str:
    """A heading and so many numbered paragraphs."""
    texts = cycle(PARAGRAPHS)
    numbered = [f"**{number}.** {next(texts)}" for number in range(1, paragraphs + 1)]
    return "\n\n".join(["## The way of a message", *numbered])


def timed_answer(deltas: int) -> str:
    """A long answer of at least one and otherwise exactly so many deltas."""
    mean = len(tokens(long_answer(len(PARAGRAPHS)))) // len(PARAGRAPHS)
    return "".join(tokens(long_answer(deltas // mean + len(PARAGRAPHS)))[: max(deltas, 1)])


def tokens(text: str) -> list[str]:
    """The text in pieces about as long as a language model's; joined they are the text."""
    return _TOKEN.findall(text)
