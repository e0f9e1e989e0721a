"""What every nginx of the tests has in its configuration, whoever runs the tests and wherever they lie."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path


def nginx_main(folder: Path) -> str:
    """The directives of its main part: everything that it writes stands in `folder`.

    Started by root, nginx would run its workers as another user, who cannot read the files of a checkout that only its
    owner may enter, and cannot write into `folder`. They run as whoever runs the tests.
    """
    return f"{_user()}daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;"


def nginx_http(folder: Path) -> str:
    """The directives of its http part that keep its temporary files in `folder`."""
    kinds = {"client_body": "body", "proxy": "proxy", "fastcgi": "fastcgi", "uwsgi": "uwsgi", "scgi": "scgi"}
    return "access_log off; " + " ".join(f"{kind}_temp_path {folder}/{name};" for kind, name in kinds.items())


def _user() -> str:
    if os.geteuid() != 0:
        return ""  # nginx says that it ignores the directive
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(os.getegid()).gr_name}; "
