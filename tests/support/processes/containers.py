"""Images and containers without a daemon and without a registry: buildah and podman, on a base made by debootstrap."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.processes.programs import required
from tests.support.system import ROOT

DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
CACHE = ROOT / "build" / "deploy"
AUTHORITIES = Path("/usr/local/share/ca-certificates")
"""Certificates that this machine's administrator trusts besides: a registry may be behind one of them."""
HARDENED = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
STOP_SECONDS = 45
BUILD_SECONDS = 1500


@dataclass
class Engine:
    """buildah and podman with a storage of their own, which is gone after the tests."""

    folder: Path

    def build(self, dockerfile: Path, context: Path, tag: str) -> subprocess.CompletedProcess[str]:
        """In the format of Docker, because OCI's has no HEALTHCHECK."""
        more = ("--format=docker", "--isolation=chroot", "--pull-never", "--file", dockerfile, "--tag", tag)
        return self._run("buildah", "bud", *more, context, timeout=BUILD_SECONDS)

    def podman(self, *arguments: str | Path, timeout: float = 120) -> str:
        """What it prints on stdout. Fails where it fails."""
        done = self._run("podman", *arguments, timeout=timeout)
        assert done.returncode == 0, f"podman {arguments[0]}: {done.stderr}{done.stdout}"
        return done.stdout

    def inspect(self, image: str) -> dict[str, Any]:
        return json.loads(self.podman("inspect", "--type=image", image))[0]

    def shell(self, image: str, script: str, *options: str) -> str:
        """What the script prints in a container of the image."""
        return self.podman("run", "--rm", *_LIMITS, *options, "--entrypoint", "", image, "sh", "-ec", script)

    def run(
        self,
        image: str,
        *command: str,
        environ: Mapping[str, str],
        options: Sequence[str] = HARDENED,
    ) -> Container:
        """A container on this machine's network, as the deployment's own are: hardened, unless `options` say else."""
        variables = [word for name, value in environ.items() for word in ("--env", f"{name}={value}")]
        name = self.podman(
            "run", "--detach", "--network=host", *_LIMITS, *options, *variables, image, *command
        )
        return Container(self, name.strip())

    def remove_containers(self) -> None:
        """What a test has left running would go on with the services of the tests after it."""
        self.podman("rm", "--all", "--force", "--time=1")

    def _run(self, program: str, *arguments: str | Path, timeout: float) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [required(program), "--storage-driver=overlay"]
        command += ["--root", self.folder / "store", "--runroot", self.folder / "run"]
        if program == "podman":
            command += ["--runtime=runc", "--cgroup-manager=cgroupfs", "--tmpdir", self.folder / "tmp"]
        return subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "DISABLE_HC_SYSTEMD": "true"},  # the tests ask for health by themselves
        )


@dataclass
class Container:
    engine: Engine
    name: str

    @property
    def output(self) -> str:
        done = self.engine._run("podman", "logs", self.name, timeout=60)
        return done.stdout + done.stderr

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        state = json.loads(self.engine.podman("inspect", "--type=container", self.name))[0]["State"]
        return None if state["Running"] else state["ExitCode"]

    def processes(self) -> list[psutil.Process]:
        """Those of the container, the deepest first, but for its init."""
        (state,) = json.loads(self.engine.podman("inspect", "--type=container", self.name))
        return psutil.Process(state["State"]["Pid"]).children(recursive=True)[::-1]

    def wait(self) -> int:
        return int(self.engine.podman("wait", self.name))

    def stop(self) -> int:
        """SIGTERM, as an orchestrator sends it; the exit status."""
        self.engine.podman("stop", f"--time={STOP_SECONDS}", self.name, timeout=STOP_SECONDS + 30)
        status = self.status
        assert status is not None
        return status

    def healthy(self) -> bool:
        """What the image's own HEALTHCHECK says."""
        return self.engine._run("podman", "healthcheck", "run", self.name, timeout=60).returncode == 0


def _limits() -> tuple[str, str]:
    """Within those of this process: the engine's own may be above what it may give."""
    kinds = {"nofile": (resource.RLIMIT_NOFILE, 20_000), "nproc": (resource.RLIMIT_NPROC, 4_096)}
    hard = {name: (resource.getrlimit(kind)[1], most) for name, (kind, most) in kinds.items()}
    files, processes = (most if limit < 0 else min(limit, most) for limit, most in hard.values())
    return f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={processes}:{processes}"


_LIMITS = _limits()


@contextmanager
def engine() -> Iterator[Engine]:
    """An engine that has the Dockerfile's base, as debootstrap makes it."""
    if os.geteuid() != 0:
        assert not os.environ.get("CI"), "CI runs these tests as root"
        pytest.skip("containers need root here")
    required("runc")
    name, suite = base_image()
    root = _debian(suite)
    folder = Path(tempfile.mkdtemp(prefix="relaykit-engine-"))
    made = Engine(folder)
    try:
        made.podman("import", root, name, timeout=300)
        yield made
    finally:
        made._run("podman", "rm", "--all", "--force", "--time=1", timeout=120)
        made._run("podman", "rmi", "--all", "--force", timeout=120)
        for mount in (folder / "store" / "overlay", folder / "store" / "overlay-containers"):
            if os.path.ismount(mount):
                subprocess.run([required("umount"), mount], check=True)
        shutil.rmtree(folder)


def base_image() -> tuple[str, str]:
    """The image that the Dockerfile begins with, and Debian's name of its release."""
    found = re.search(r"^ARG BASE=(\S+:(\w+)-slim)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found, "the Dockerfile's BASE is no release of Debian"
    return found[1], found[2]


def _debian(suite: str) -> Path:
    """A clean root file system as a tar, made once."""
    kept = CACHE / f"{suite}.tar"
    if kept.exists():
        return kept
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        root = Path(folder) / "root"
        command = [required("debootstrap"), "--variant=minbase", suite, str(root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        if AUTHORITIES.is_dir():
            shutil.copytree(AUTHORITIES, root / AUTHORITIES.relative_to("/"), dirs_exist_ok=True)
        made = Path(folder) / "root.tar"
        with tarfile.open(made, "w") as tar:
            tar.add(root, arcname=".")
        made.rename(kept)
    return kept
