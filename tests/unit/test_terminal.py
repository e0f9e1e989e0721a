"""The terminal of local mode keeps no process waiting, and loses no line of the log files."""

from __future__ import annotations

import os
from pathlib import Path

from relaykit.local.terminal import WAITING_LINES, Output, Terminal


def test_a_line_of_a_process_has_its_name(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+") as out:
        terminal = Terminal(out)
        terminal.say("ready")
        terminal.show("api 0", b"hello\n")
        terminal.close()
        assert (tmp_path / "out").read_text() == "ready\napi 0    | hello\n"


def test_a_terminal_that_does_not_take_its_lines_holds_up_nobody() -> None:
    """As `less` does that shows its first page. What it does not take is in the log files."""
    reading, writing = os.pipe()
    with open(reading, "rb") as reader, open(writing, "w") as out:
        terminal = Terminal(out)
        for _ in range(2 * WAITING_LINES):
            terminal.show("worker 0", b"x" * 100)
        reader.close()
        terminal.close()


def test_a_terminal_that_is_gone_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as out:
        terminal = Terminal(out)
        terminal.say("nobody reads this")
        terminal.close()
    closed = Terminal(None)
    closed.say("nor this")
    closed.close()
    assert not closed.has_colours


def test_what_the_terminal_cannot_show_is_spelt_out_and_kept_in_the_log(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    log = tmp_path / "logs" / "worker-0.log"
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        terminal = Terminal(out)
        output = Output("worker 0", open(reading, "rb"), log, terminal)  # noqa: SIM115  # the output closes it
        os.write(writing, "caf\u00e9\n".encode() + b"\x1b[31mred\x1b[0m\n")
        os.close(writing)
        output.wait(60)
        terminal.close()
    assert (tmp_path / "out").read_bytes().startswith(b"worker 0 | caf\\xe9\n")
    assert log.read_bytes() == "caf\u00e9\nred\n".encode()
