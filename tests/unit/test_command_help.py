"""`relaykit COMMAND --help`: what the command does, and its settings as they are in the code."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from relaykit.cli import COMMANDS, main
from relaykit.command_help import COLUMNS, DESCRIPTIONS, EPILOG, Setting
from relaykit.local.local_settings import DATA_DIR, DEV_DRAIN_SECONDS, DRAIN_SECONDS, read_local_settings
from relaykit.shared.settings import Settings

LOCAL = {"dev": DEV_DRAIN_SECONDS, "local": DRAIN_SECONDS}
SETTINGS = [(command, setting) for command, (_, settings) in DESCRIPTIONS.items() for setting in settings]


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def test_the_commands_help_names_each_command_and_what_a_status_means(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = help_of(capsys)
    for name in COMMANDS:
        assert re.search(rf"^    {name}\b", text, re.MULTILINE), name
    assert EPILOG in text
    assert "--version" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_in_sentences_what_it_does(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    text = help_of(capsys, command)
    usage, described, settings, *_ = text.split("\n\n")
    assert usage.startswith(f"usage: relaykit {command}")
    assert re.match(r"[A-Z]", described)
    assert described.endswith(".")
    assert [line for line in text.splitlines() if len(line) > COLUMNS] == []
    for setting in DESCRIPTIONS[command][1]:
        assert re.search(rf"^  {setting.name}  +[A-Z]", settings, re.MULTILINE), setting.name
    assert EPILOG in text


@pytest.mark.parametrize(("command", "setting"), SETTINGS, ids=lambda value: getattr(value, "name", value))
def test_a_setting_has_the_default_of_the_code_and_its_unit(command: str, setting: Setting) -> None:
    assert setting.default == (
        local_default(command, setting.name) if command in LOCAL else default_of(setting.name)
    )
    assert setting.meaning.endswith(".")
    if setting.name.endswith("_SECONDS"):
        assert setting.meaning.startswith("Seconds ")


def default_of(name: str) -> str | None:
    field = Settings.model_fields[name.lower()]
    if field.is_required():
        return None
    return "" if field.default is None else f"{field.default}"


def local_default(command: str, name: str) -> str | None:
    read = read_local_settings({"PORT": "8000"}, LOCAL[command])
    return {
        "REDIS_URL": "",
        "DATABASE_URL": "",
        "HOST": read.host,
        "API_PROCESSES": str(len(read.ports)),
        "WORKERS": str(len(read.worker_ports)),
        "APP_DIR": f"{os.path.relpath(read.folder)}",
        "DATA_DIR": str(read.data_dir.relative_to(Path.cwd())),
        "SHUTDOWN_DELAY_SECONDS": f"{read.shutdown_delay_seconds:g}",
        "DRAIN_SECONDS": f"{read.drain_seconds:g}",
    }.get(name, default_of(name) if name.lower() in Settings.model_fields else DATA_DIR)
