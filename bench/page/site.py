"""A site of one page: the element as it was built, and a ChatKit server that streams one answer at a steady rate."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHARACTERS = 20
"""Of one delta."""
TURN_SECONDS = 0.004

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Page</title><link rel="icon" href="data:,">
<style>body { margin: 0 } relaykit-chat { height: 100dvh }</style></head>
<body><relaykit-chat id="chat"></relaykit-chat>
<script type="module">
  import "/element/relaykit-chat.js";
  chat.addEventListener("chatkit.response.end", () => { window.ended = true });
  const options = { history: { enabled: false }, thread: { autoScroll: true } };
  chat.setOptions({ ...options, api: { url: "/chatkit", domainKey: "none" } });
  await customElements.whenDefined("relaykit-chat");
  window.isReady = true;
</script></body></html>
"""


@dataclass
class Site:
    """What the server says next."""

    folder: Path
    """Of the built element."""
    url: str = ""
    text: str = ""
    per_second: int = 500
    failures: list[BaseException] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._answer(reader, writer)
        except BaseException as error:
            self.failures.append(error)
            raise
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ", 2)[1]
        file = self.folder / path.rpartition("/")[2]
        if head.startswith("POST /chatkit ") and await _asks(reader, head):
            await self._stream(writer)
        elif path == "/":
            _whole(writer, "text/html", PAGE.encode())
        elif path.startswith("/element/") and file.is_file():
            _whole(writer, "text/javascript", file.read_bytes())
        else:
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        now = "2026-01-01T00:00:00"
        thread = {"id": "thr_page", "created_at": now, "status": {"type": "active"}, "metadata": {}}
        item = {"id": "msg_page", "thread_id": "thr_page", "created_at": now, "type": "assistant_message"}
        _event(writer, {"type": "thread.created", "thread": thread})
        _event(writer, {"type": "thread.item.added", "item": {**item, "content": _parts("")}})
        deltas = [self.text[at : at + CHARACTERS] for at in range(0, len(self.text), CHARACTERS)]
        began_at, sent = asyncio.get_running_loop().time(), 0
        while sent < len(deltas):
            await asyncio.sleep(TURN_SECONDS)
            due = int((asyncio.get_running_loop().time() - began_at) * self.per_second)
            for delta in deltas[sent:due]:
                update = {
                    "type": "assistant_message.content_part.text_delta",
                    "content_index": 0,
                    "delta": delta,
                }
                _event(writer, {"type": "thread.item.updated", "item_id": item["id"], "update": update})
            sent = max(sent, due)
            await writer.drain()
        _event(writer, {"type": "thread.item.done", "item": {**item, "content": _parts(self.text)}})


async def _asks(reader: asyncio.StreamReader, head: str) -> bool:
    """Whether the request is the message that is to be answered; whatever else the element asks for is not there."""
    length = next(
        line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length:")
    )
    return bool(json.loads(await reader.readexactly(int(length)))["type"] == "threads.create")


def _parts(text: str) -> list[dict[str, Any]]:
    return [{"type": "output_text", "text": text, "annotations": []}]


def _event(writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
    writer.write(f"data: {json.dumps(event)}\n\n".encode())


def _whole(writer: asyncio.StreamWriter, content_type: str, body: bytes) -> None:
    lines = [f"content-type: {content_type}", f"content-length: {len(body)}", "connection: close"]
    head = "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""])
    writer.write(head.encode() + body)


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Served by a thread of its own for the length of the block."""
    served, ready, stop = Site(folder), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def main() -> None:
        async with await asyncio.start_server(served.serve, "127.0.0.1", 0) as server:
            served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    ready.wait()
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
    if served.failures:
        raise served.failures[0]
