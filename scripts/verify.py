#!/usr/bin/env python3
"""A self-check: starts all of Relaykit on free ports, has it answer, cuts the answer and resumes it, and stops it.

    python3 scripts/verify.py

It needs Python 3.11 and make, as `make run` does, and leaves nothing behind but the environment in .venv. It ends with
exit status 0 where all holds; otherwise it says what does not, and ends with 1.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 300.0
STOP_SECONDS = 60.0
ANSWER_SECONDS = 120.0
READ_BEFORE_THE_CUT = 10
READY = re.compile(r"^Relaykit is ready: (http://\S+?)/$", re.M)
DONE = "✓ building-chat-interfaces skill ready"


class Failed(Exception):
    """A part of the check does not hold; the text is for the person who called it."""


class Event(NamedTuple):
    cursor: str
    data: dict[str, Any]


class Stream(NamedTuple):
    run_id: str
    events: list[Event]
    end: str | None


def main() -> int:
    try:
        environment()
        with (
            tempfile.TemporaryDirectory(prefix="relaykit-verify-", ignore_cleanup_errors=True) as folder,
            relaykit(Path(folder)) as address,
        ):
            check(address)
    except (Failed, OSError, http.client.HTTPException) as error:
        print(f"✗ {error or type(error).__name__}", file=sys.stderr)
        return 1
    print(DONE)
    return 0


def environment() -> None:
    if (ROOT / ".venv" / ".complete").exists() or (ROOT / ".venv" / ".local").exists():
        return
    made = subprocess.run(["make", "--no-print-directory", ".venv/.local"], cwd=ROOT, check=False)  # noqa: S607  # the one on PATH
    if made.returncode:
        raise Failed("the environment cannot be made: see above")
    passed("the environment is made, as locked")


@contextmanager
def relaykit(folder: Path) -> Iterator[str]:
    """The address of a Relaykit of its own, which is stopped after the block and has left no process then."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    folder.chmod(0o711)  # root's PostgreSQL runs as another user
    site, log = folder / "site", folder / "output"
    site.mkdir()  # with no .env, which may name services of another deployment
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our own command line
            [ROOT / ".venv" / "bin" / "python", "-m", "relaykit", "local"],
            cwd=ROOT,
            env={**kept, "PORT": "0", "DATA_DIR": str(folder / "data"), "APP_DIR": str(site)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield ready(process, log)
        process.send_signal(signal.SIGTERM)
        if process.wait(STOP_SECONDS) != 0:
            raise Failed(f"it stopped with status {process.returncode}:\n{tail(log)}")
        passed("everything was stopped in order")
    except subprocess.TimeoutExpired:
        raise Failed(f"it did not stop within {STOP_SECONDS:g} s:\n{tail(log)}") from None
    finally:
        if process.poll() is None:
            process.kill()  # the kernel ends its children with it
            process.wait()


def ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while not (line := READY.search(log.read_text(errors="replace"))):
        if process.poll() is not None:
            raise Failed(f"it ended while it started, with status {process.returncode}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise Failed(f"it was not ready after {START_SECONDS:g} s:\n{tail(log)}")
        time.sleep(0.05)
    passed(f"Redis, PostgreSQL, the API and a worker are ready: {line[1]}")
    return line[1]


def check(address: str) -> None:
    began = time.monotonic()
    token = post(address, "/dev/token", {"sub": "alice"})["access_token"]
    threads = post(address, "/chatkit", {"type": "threads.list", "params": {}}, token)
    expect(threads["data"] == [], "the first request on a fresh start lists no threads", threads)
    passed(f"the first requests were answered from open pools, in {(time.monotonic() - began) * 1000:.0f} ms")

    cut = ask(address, token, None, "Give me a long answer", cut_after=READ_BEFORE_THE_CUT)
    expect(
        len(cut.events) == READ_BEFORE_THE_CUT and cut.end is None, "the stream was cut in mid-answer", cut
    )
    rest = resume(address, token, cut.run_id, cut.events[-1].cursor)
    expect(rest.end == "completed", "the resumed stream comes to the run's end", rest.end)
    events = cut.events + rest.events
    cursors = [event.cursor for event in events]
    expect(len(set(cursors)) == len(cursors), "no event came twice", cursors)
    whole = resume(address, token, cut.run_id, None)
    expect(whole.events == events, "what came in two parts is what the journal has", None)
    passed(
        f"an answer of {len(events)} events was cut after {len(cut.events)} and resumed: nothing lost, nothing twice"
    )

    thread_id = next(e.data["thread"]["id"] for e in events if e.data["type"] == "thread.created")
    stored = items(address, token, thread_id)
    streamed = "".join(e.data["update"]["delta"] for e in events if is_delta(e))
    expect(answer_of(stored[-1]) == streamed, "the stored answer is the one that was streamed", stored[-1])
    passed("the history has the message and the answer, as they were streamed")

    page = {"url": "https://shop.example/tea", "title": "Green tea", "path": "/tea", "headings": "Teas"}
    asked = ask(address, token, thread_id, "which page is this", metadata={"pageContext": page})
    expect(asked.end == "completed", "the question about the page is answered", asked.end)
    told = answer_of(items(address, token, thread_id)[-1])
    expect("Green tea" in told, "the answer knows the page that the message came from", told)
    passed("the page's context reached the agent, through queue and worker")

    stranger = post(address, "/dev/token", {"sub": "bob"})["access_token"]
    request = {"type": "threads.get_by_id", "params": {"thread_id": thread_id}}
    status, _ = call(address, "POST", "/chatkit", request, stranger)
    expect(status == 404, "another user's thread is not found", status)
    status, _ = call(address, "POST", "/chatkit", request, None)
    expect(status == 401, "a request without a token is refused", status)
    passed("threads are their owners' alone")


def ask(
    address: str,
    token: str,
    thread_id: str | None,
    text: str,
    metadata: dict[str, Any] | None = None,
    cut_after: int | None = None,
) -> Stream:
    message = {"content": [{"type": "input_text", "text": text}], "attachments": [], "inference_options": {}}
    if thread_id is None:
        request: dict[str, Any] = {"type": "threads.create", "params": {"input": message}}
    else:
        request = {"type": "threads.add_user_message", "params": {"thread_id": thread_id, "input": message}}
    if metadata is not None:
        request["metadata"] = metadata
    return stream(address, "POST", "/chatkit", request, token, {}, cut_after)


def resume(address: str, token: str, run_id: str, cursor: str | None) -> Stream:
    headers = {"Last-Event-ID": cursor} if cursor else {}
    return stream(address, "GET", f"/runs/{run_id}/events", None, token, headers, None)


def stream(
    address: str,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    token: str,
    headers: dict[str, str],
    cut_after: int | None,
) -> Stream:
    """Reads the answer to its end, or cuts the connection after so many events."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=ANSWER_SECONDS)
    try:
        connection.request(method, path, payload(body), {**authorized(token), **headers})
        response = connection.getresponse()
        if response.status != 200:
            raise Failed(f"{method} {path}: {response.status} {response.read().decode(errors='replace')}")
        events: list[Event] = []
        cursor, end = "", None
        for raw in response:
            line = raw.decode().rstrip("\n")
            if line.startswith("id: "):
                cursor = line.removeprefix("id: ")
            elif line.startswith("data: "):
                events.append(Event(cursor, json.loads(line.removeprefix("data: "))))
            elif line.startswith(": end "):
                end = line.removeprefix(": end ")
            if len(events) == cut_after:
                break
        return Stream(response.headers["x-run-id"], events, end)
    finally:
        connection.close()


def items(address: str, token: str, thread_id: str) -> list[dict[str, Any]]:
    params = {"thread_id": thread_id, "order": "asc", "limit": 100}
    found: list[dict[str, Any]] = post(address, "/chatkit", {"type": "items.list", "params": params}, token)[
        "data"
    ]
    return found


def post(address: str, path: str, body: dict[str, Any], token: str | None = None) -> Any:
    status, answer = call(address, "POST", path, body, token)
    if status != 200:
        raise Failed(f"POST {path}: {status} {answer.decode(errors='replace')}")
    return json.loads(answer)


def call(address: str, method: str, path: str, body: dict[str, Any], token: str | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=ANSWER_SECONDS)
    try:
        connection.request(method, path, payload(body), authorized(token))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def authorized(token: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    return headers if token is None else {**headers, "Authorization": f"Bearer {token}"}


def payload(body: dict[str, Any] | None) -> bytes | None:
    return None if body is None else json.dumps(body).encode()


def is_delta(event: Event) -> bool:
    return bool(event.data.get("update", {}).get("type") == "assistant_message.content_part.text_delta")


def answer_of(item: dict[str, Any]) -> str:
    return "".join(part["text"] for part in item.get("content", ()) if "text" in part)


def expect(holds: bool, what: str, found: object) -> None:
    if not holds:
        raise Failed(f"it does not hold that {what}; found: {str(found)[:500]}")


def passed(what: str) -> None:
    print(f"✓ {what}", flush=True)


def tail(log: Path) -> str:
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-15:])


if __name__ == "__main__":
    sys.exit(main())
