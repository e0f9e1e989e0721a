"""What must hold of the changes that a run makes to what is older than itself: evidence in, losses out. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from relaykit.shared.runs.run import Status
from tests.chaos.record import Evidence, Loss, RunRow
from tests.chaos.script import AUTOMATIC_TITLE, CALL, LEDGER, TALLY, Script, is_ledger, tag_of, text_of

CHANGES = "what a run changes of its thread is changed once"
TITLE = "a title that the user gave stays"
CALLS = "each client tool call has its output, or is given up"


def change_losses(evidence: Evidence) -> Iterator[Loss]:
    """The tags in a thread's metadata and in its ledger: of completed runs each once, of stopped ones once or not.

    There is one ledger. Each run that was stopped while it renewed the ledger may have left one more.
    """
    scripts = {turn.script.tag: turn.script for turn in evidence.turns}
    for thread_id, runs in _tallying_runs(evidence).items():
        metadata = list(evidence.threads[thread_id].get("metadata", {}).get(TALLY, []))
        if wrong := _difference(metadata, runs):
            yield Loss(CHANGES, thread_id, f"its metadata has {metadata}: {wrong}")
        ledgers = [
            text_of(item).removeprefix(LEDGER).split()
            for item in evidence.items.get(thread_id, [])
            if is_ledger(item)
        ]
        renewals = sum(scripts[tag].renews and row.status == Status.CANCELLED for tag, row in runs.items())
        found = [_difference(ledger, runs) for ledger in ledgers or [[]]]
        if all(found) or len(ledgers) > 1 + renewals:
            yield Loss(CHANGES, thread_id, f"its ledgers have {ledgers}: {found}")


def title_losses(evidence: Evidence) -> Iterator[Loss]:
    """The last title that the user gave, where there is one, else none or an automatic one.

    One that was asked for in vain before it was taken may have been given once more, later than the last.
    """
    given: dict[str, tuple[float, str]] = {}
    repeated: dict[str, set[str]] = {}
    for turn in evidence.turns:
        if turn.titled_at is not None and turn.title is not None and turn.thread_id is not None:
            given[turn.thread_id] = max(given.get(turn.thread_id, (0.0, "")), (turn.titled_at, turn.title))
            if turn.title_unanswered:
                repeated.setdefault(turn.thread_id, set()).add(turn.title)
    for thread_id, thread in evidence.threads.items():
        title = thread.get("title")
        if thread_id in given and title not in {given[thread_id][1], *repeated.get(thread_id, ())}:
            yield Loss(TITLE, thread_id, f"is {title!r}, the user called it {given[thread_id][1]!r}")
        elif thread_id not in given and title is not None and not title.startswith(AUTOMATIC_TITLE):
            yield Loss(TITLE, thread_id, f"is {title!r}, which nobody called it")


def call_losses(evidence: Evidence) -> Iterator[Loss]:
    """Each client tool call has its output, or was given up where its run was stopped; none of them is pending."""
    outputs = {turn.call_id: turn for turn in evidence.turns if turn.call_id is not None}
    for thread_id, items in evidence.items.items():
        for item in (item for item in items if item["type"] == CALL):
            tag, output, status = tag_of(item), item.get("output"), item.get("status")
            expected = f"the output {Script(tag=str(tag)).output}" if item["id"] in outputs else "an error"
            is_right = (
                output == Script(tag=str(tag)).output if item["id"] in outputs else "error" in (output or {})
            )
            if status != "completed" or not is_right:
                yield Loss(CALLS, thread_id, f"the call of {tag} is {status} with {output}, not {expected}")


def served_order(tags: list[str]) -> list[str]:
    """The tags of a thread's runs in the order in which they are served: an output goes before all that waits."""
    messages = [tag for tag in tags if not Script(tag=tag).is_after_call]
    after = [(tag, Script(tag=tag).after_call.tag) for tag in messages]
    return [each for tag, output in after for each in ((tag, output) if output in tags else (tag,))]


def _tallying_runs(evidence: Evidence) -> dict[str, dict[str, RunRow]]:
    """By thread and tag, in the order in which they were accepted."""
    scripts = {turn.key: turn.script for turn in evidence.turns}
    found: dict[str, dict[str, RunRow]] = {}
    for row in evidence.rows:
        script = scripts.get(row.key or "")
        if script is not None and script.tallies and row.thread_id in evidence.threads:
            found.setdefault(row.thread_id, {})[script.tag] = row
    return found


def _difference(tags: list[str], runs: dict[str, RunRow]) -> str:
    """What is wrong with the tags; empty where nothing is."""
    if unknown := [tag for tag in tags if tag not in runs]:
        return f"{unknown} are of no run that was asked to note itself"
    if repeated := {tag for tag in tags if tags.count(tag) > 1}:
        return f"{sorted(repeated)} stand there more than once"
    if missing := [tag for tag, row in runs.items() if row.status == Status.COMPLETED and tag not in tags]:
        return f"{missing} are missing"
    order = list(runs)
    return "" if tags == sorted(tags, key=order.index) else f"the runs came as {order}"
