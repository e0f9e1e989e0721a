"""`make run` in a checkout installs what the site needs into its environment, within Relaykit's own versions."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes.local_mode import LocalMode, signed_in, temporary_data_dir
from tests.support.sites.dev_site import NAME, Site
from tests.support.system import ROOT, create

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")

UV = Path(sys.executable).with_name("uv")
PRICES = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "shop-prices"
version = "1.0"
"""
USES = "\nfrom shop_prices import PRICE\n\nWORD = f'{WORD} costs {PRICE}'\n"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment as `make setup` leaves it, whose packages are those of this one. No test writes into this one."""
    made = tmp_path / "env"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, made], check=True)
    (packages,) = made.glob("lib/python*/site-packages")
    (packages / "these.pth").write_text(sysconfig.get_path("purelib"))
    (made / "bin" / "uv").symlink_to(UV)
    (made / ".complete").touch()
    return made


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site that needs a package, which lies beside it."""
    prices = tmp_path / "prices"
    (prices / "shop_prices").mkdir(parents=True)
    (prices / "pyproject.toml").write_text(PRICES)
    (prices / "shop_prices" / "__init__.py").write_text("PRICE = 7\n")
    found = Site(tmp_path / "site")
    found.save("apple", USES)
    return found


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with temporary_data_dir() as folder:
        yield folder


def make_run(data_dir: Path, environment: Path, site: Site) -> LocalMode:
    """Nothing is downloaded: the package lies on this disk, and what builds it is in the environment."""
    return LocalMode(
        data_dir,
        ("make", "run", f"VENV={os.path.relpath(environment, ROOT)}", "PYTHON=" + sys.executable),
        CHATKIT_SERVER=NAME,
        APP_DIR=str(site.folder),
        UV_OFFLINE="1",
        UV_NO_BUILD_ISOLATION="1",
    )


@pytest.mark.parametrize("file", ["requirements.txt", "pyproject.toml"])
async def test_what_the_site_names_is_there_when_its_server_is_loaded(
    environment: Path, site: Site, data_dir: Path, file: str
) -> None:
    package = f"shop-prices @ {(site.folder.parent / 'prices').as_uri()}"
    text = f"{package}\n"
    if file == "pyproject.toml":
        text = f'[project]\nname = "shop"\nversion = "1.0"\ndependencies = ["{package}"]\n'
    (site.folder / file).write_text(text)
    mode = make_run(data_dir, environment, site)
    try:
        caller = await signed_in(mode.ready())
        assert (await caller.stream(create("hi"))).text == "apple costs 7 none "
    finally:
        mode.process.send_signal(signal.SIGTERM)
        mode.ended()


def test_a_version_that_relaykit_cannot_have_starts_nothing(
    environment: Path, site: Site, data_dir: Path
) -> None:
    (site.folder / "requirements.txt").write_text("redis==0.0.1\n")
    mode = make_run(data_dir, environment, site)
    assert mode.ended() == 2
    assert "redis" in mode.complained
    assert mode.said == ""
