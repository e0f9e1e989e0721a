"""The proxies of deploy/proxies as real processes: their files as they are, but for addresses and certificates."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.network.certificates import Certificates
from tests.support.network.nginx import nginx_http, nginx_main
from tests.support.processes.programs import required
from tests.support.system import ROOT, free_port

FILES = ROOT / "deploy" / "proxies"
PRIVATE = "127.0.0.2"
"""The one address that each of them is told to be private. Clients have 127.0.0.1."""


@dataclass
class Place:
    """Where a proxy listens, and what it stands in front of."""

    folder: Path
    port: int
    upstreams: Sequence[int]
    certificates: Certificates
    process: subprocess.Popen[bytes] | None = None

    def assert_runs(self) -> None:
        assert self.process is None or self.process.poll() is None, (self.folder / "output").read_text()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


Command = Callable[[Place], list[str]]


def changed(name: str, changes: dict[str, str]) -> str:
    """The file with what an operator changes in it. Each place has to be there."""
    text = (FILES / name).read_text()
    for old, new in changes.items():
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    return text


def nginx(place: Place) -> list[str]:
    first, second = place.upstreams
    changes = {
        "server 127.0.0.1:8000 ": f"server 127.0.0.1:{first} ",
        "server 127.0.0.1:8001 ": f"server 127.0.0.1:{second} ",
        "listen 443 ssl http2;\n    listen [::]:443 ssl http2;": f"listen 127.0.0.1:{place.port} ssl http2;",
        "127.0.0.1/32 1;\n    ::1/128 1;": f"{PRIVATE}/32 1;",
        "/etc/ssl/relaykit/fullchain.pem": str(place.certificates.certificate),
        "/etc/ssl/relaykit/key.pem": str(place.certificates.key),
    }
    (place.folder / "relaykit.conf").write_text(changed("nginx.conf", changes))
    (place.folder / "nginx.conf").write_text(
        f"{nginx_main(place.folder)}\nevents {{ worker_connections 1024; }}\n"
        f"http {{ {nginx_http(place.folder)}\ninclude {place.folder}/relaykit.conf; }}\n"
    )
    return [required("nginx"), "-p", str(place.folder), "-c", str(place.folder / "nginx.conf")]


def haproxy(place: Place) -> list[str]:
    first, second = place.upstreams
    pair = place.folder / "haproxy.pem"
    pair.write_bytes(place.certificates.certificate.read_bytes() + place.certificates.key.read_bytes())
    changes = {
        "server api1 127.0.0.1:8000": f"server api1 127.0.0.1:{first}",
        "server api2 127.0.0.1:8001": f"server api2 127.0.0.1:{second}",
        "bind :443 ssl crt /etc/ssl/relaykit/haproxy.pem": f"bind 127.0.0.1:{place.port} ssl crt {pair}",
        "acl private src 127.0.0.1 ::1": f"acl private src {PRIVATE}",
    }
    config = place.folder / "haproxy.cfg"
    config.write_text(changed("haproxy.cfg", changes))
    return [required("haproxy"), "-db", "-f", str(config)]


def caddy(place: Place) -> list[str]:
    changes = {
        "\tadmin off\n": "\tadmin off\n\tauto_https off\n",
        "{$SITE_ADDRESS:chat.example.com} {\n": (
            f"https://127.0.0.1:{place.port} {{\n"
            f"\ttls {place.certificates.certificate} {place.certificates.key}\n"
        ),
        "127.0.0.1/32 ::1/128 {$PRIVATE_ADDRESSES}": f"{PRIVATE}/32",
        "{$UPSTREAMS:127.0.0.1:8000 127.0.0.1:8001}": " ".join(
            f"127.0.0.1:{port}" for port in place.upstreams
        ),
    }
    config = place.folder / "Caddyfile"
    config.write_text(changed("Caddyfile", changes))
    return [required("caddy"), "run", "--adapter", "caddyfile", "--config", str(config)]


def envoy(place: Place) -> list[str]:
    first, second = place.upstreams
    changes = {
        "port_value: 8000": f"port_value: {first}",
        "port_value: 8001": f"port_value: {second}",
        "address: 0.0.0.0, port_value: 443": f"address: 127.0.0.1, port_value: {place.port}",
        "address_prefix: 127.0.0.1,": f"address_prefix: {PRIVATE},",
        "/etc/ssl/relaykit/fullchain.pem": str(place.certificates.certificate),
        "/etc/ssl/relaykit/key.pem": str(place.certificates.key),
    }
    config = place.folder / "envoy.yaml"
    config.write_text(changed("envoy.yaml", changes))
    return [program("envoy"), "--use-dynamic-base-id", "--concurrency", "1", "-c", str(config)]


PROXIES: dict[str, Command] = {"nginx": nginx, "haproxy": haproxy, "caddy": caddy, "envoy": envoy}


def program(name: str) -> str:
    """Debian's, but for Envoy, which is a wheel."""
    wheel = Path(sys.executable).parent / name
    return str(wheel) if wheel.exists() else required(name)


@contextmanager
def proxied(name: str, folder: Path, upstreams: Sequence[int], certificates: Certificates) -> Iterator[Place]:
    """A proxy that runs; what it printed is in `folder`/output."""
    folder.mkdir()
    place = Place(folder, free_port(), upstreams, certificates)
    environ = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "output").open("wb") as output:
        place.process = subprocess.Popen(
            PROXIES[name](place),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environ,
            cwd=folder,
        )
    try:
        yield place
        place.assert_runs()
    finally:
        place.process.terminate()
        place.process.wait(30)
