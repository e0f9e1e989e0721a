"""A process of ours ends with its interpreter whole: threads of other languages' libraries would abort it otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository.documents import ROOT

PATH = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
HELD = """
import atexit, threading, time

class Held:
    def __del__(self):
        print("the interpreter is taken down")

def finish():
    time.sleep(0.3)
    print("the thread ends")

held = Held()
atexit.register(print, "the handler that was there first is called")
"""
COMMAND = """
from relaykit import cli

def command():
    threading.Thread(target=finish).start()
    atexit.register(print, "the last handler is called")
    return 3

cli.main = command
cli.entry_point()
"""
LOOP = """
from relaykit.shared.process.main_loop import MainLoop

loop = MainLoop()
threading.Thread(target=finish).start()
atexit.register(print, "the last handler is called")
loop.end(3)
"""


@pytest.mark.parametrize("ending", [COMMAND, LOOP], ids=["a command", "a process with a loop"])
def test_a_process_ends_after_its_exit_handlers_and_before_its_interpreter(ending: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELD + ending], capture_output=True, text=True, timeout=60, check=False
    )
    said = ["the thread ends", "the last handler is called", "the handler that was there first is called"]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (3, said, "")


FILES = """
import io
from relaykit.shared.process.gc_tuning import settle

text = open("feedback.jsonl", "a")
text.write("one")
raw = open("raw", "wb")
raw.write(b"two")
both = open("both", "w+b")
both.write(b"three")

class Hostile(io.TextIOWrapper):
    def flush(self):
        raise SystemExit

hostile = Hostile(io.BytesIO())
settle()
text.write(", and what came later")
"""


@pytest.mark.parametrize("ending", [COMMAND, LOOP], ids=["a command", "a process with a loop"])
def test_what_was_written_to_a_file_that_is_kept_open_is_in_it(ending: str, tmp_path: Path) -> None:
    """Also to one that was open as the garbage collector was told to look at nothing of that time again."""
    done = subprocess.run(
        [sys.executable, "-c", HELD + FILES + ending],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env=PATH,
    )
    assert (done.returncode, done.stderr) == (3, "")
    written = [(tmp_path / name).read_text() for name in ("feedback.jsonl", "raw", "both")]
    assert written == ["one, and what came later", "two", "three"]


OUTPUT = """
import os, sys
from relaykit.shared.process.exit import exit_process

sys.stdout.write("output")
sys.stderr = open("errors", "w")
sys.stderr.write("errors")
exit_process(int(sys.argv[1]))
"""


@pytest.mark.parametrize(("status", "seen"), [(0, 1), (2, 2)])
def test_output_that_cannot_be_written_is_another_status_than_0_and_keeps_no_error_from_being_said(
    status: int, seen: int, tmp_path: Path
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", OUTPUT, str(status)],
            stdout=full,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env=PATH,
        )
    assert (done.returncode, (tmp_path / "errors").read_text()) == (seen, "errors")


def test_a_reader_of_the_output_that_has_gone_is_no_failure(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = subprocess.run(
            [sys.executable, "-c", OUTPUT, "0"],
            stdout=theirs,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env=PATH,
        )
    finally:
        os.close(theirs)
    assert (done.returncode, (tmp_path / "errors").read_text()) == (0, "errors")
