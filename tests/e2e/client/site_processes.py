"""A site on the client: API and worker processes, and in front of them nginx, which also has the page's files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Route

from relaykit.shared.settings import Settings
from tests.e2e.client.visitor import Visitor
from tests.support.network.nginx import nginx_http, nginx_main
from tests.support.processes.local_mode import wait_until
from tests.support.system import ROOT, Process, fork_process, free_port

PAGE = ROOT / "tests" / "e2e" / "client" / "site"
CLIENT = ROOT / "web" / "client" / "dist"
ELEMENT = ROOT / "web" / "element" / "dist"
REACT_SITE = ROOT / "web" / "react-vite" / "dist"

CONFIGURATION = """
{main}
events {{ worker_connections 512; }}
http {{
  {http}
  types {{ text/html html; text/javascript js; text/css css; }}
  server {{
    listen 127.0.0.1:{port};
    location /site/ {{ alias {page}/; index index.html; }}
    location /client/ {{ alias {client}/; }}
    location /element/ {{ alias {element}/; }}
    location /react/ {{ alias {react}/; index index.html; }}
    location / {{
      proxy_pass http://127.0.0.1:{api_port};
      client_max_body_size 0; proxy_request_buffering off;
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
    }}
  }}
}}
"""


def required(program: str) -> str:
    """The program's path. Where it is missing CI fails, and the test is skipped elsewhere."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        assert not os.environ.get("CI"), f"CI runs the tests of the client; install {program}"
        pytest.skip(f"{program} is not installed: the tests of the client are skipped")
    return found


@dataclass
class Nginx:
    """Listens on `port` for as long as the site lives, whatever becomes of the API behind it."""

    port: int
    folder: Path
    popen: subprocess.Popen[bytes] | None = None

    def pass_to(self, api_port: int) -> None:
        """From now on to the API at this port; connections that are open stay where they are."""
        text = CONFIGURATION.format(
            main=nginx_main(self.folder),
            http=nginx_http(self.folder),
            port=self.port,
            api_port=api_port,
            page=PAGE,
            client=CLIENT,
            element=ELEMENT,
            react=REACT_SITE,
        )
        (self.folder / "nginx.conf").write_text(text)
        if self.popen is not None:
            self.popen.send_signal(signal.SIGHUP)
            return
        command = [required("nginx"), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def stop(self) -> None:
        if self.popen is not None:
            self.popen.terminate()
            self.popen.wait(60)


@dataclass
class Site:
    settings: Settings
    folder: Path
    nginx: Nginx
    api: Process | None = None
    """The one that nginx passes to."""
    apis: list[Process] = field(default_factory=list)
    worker: Process | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.nginx.port}"

    def start_api(self) -> tuple[Process, int]:
        """One that is ready, with its port, on which none was before. nginx does not pass to it."""
        port = free_port()
        url = f"http://127.0.0.1:{port}/healthz"
        api = fork_process("api", self.settings, self.folder / f"api-{port}.log", PORT=str(port))
        self.apis.append(api)
        wait_until("the API answers", lambda: _answers(api, url))
        return api, port

    def pass_to(self, api: Process, port: int) -> None:
        self.api = api
        self.nginx.pass_to(port)
        wait_until("nginx passes to it", lambda: _answers(api, f"{self.address}/healthz"))

    def start_worker(self) -> None:
        self.worker = fork_process("worker", self.settings, self.folder / "worker.log")

    def stop(self) -> None:
        for process in (*self.apis, self.worker):
            if process is not None and process.popen.poll() is None:
                process.kill()
        self.nginx.stop()


@contextmanager
def site_of(settings: Settings, folder: Path) -> Iterator[Site]:
    """`settings.port` is nginx's."""
    required("nginx")
    if not (CLIENT / "index.js").exists() or not (REACT_SITE / "index.html").exists():
        assert not os.environ.get("CI"), "CI runs the tests of the browser packages; run `make web`"
        pytest.skip("the browser packages are not built (make web): their tests are skipped")
    site = Site(settings, folder, Nginx(settings.port, folder))
    try:
        site.start_worker()
        site.pass_to(*site.start_api())
        yield site
    finally:
        site.stop()


def serve_two_users_page(visitor: Visitor, folder: Path) -> None:
    """Builds the page of web/react/test/page into the folder and serves it at /built/."""
    source = ROOT / "web" / "react" / "test" / "page"
    vite = ROOT / "web" / "node_modules" / "vite" / "bin" / "vite.js"
    build = [required("node"), str(vite), "build", str(source), "--base", "./", "--outDir", str(folder)]
    subprocess.run([*build, "--logLevel", "error"], check=True)

    def give(route: Route) -> None:
        route.fulfill(path=folder / urlsplit(route.request.url).path.removeprefix("/built/"))

    visitor.context.route("**/built/**", give)


def _answers(api: Process, url: str) -> bool:
    assert api.popen.poll() is None, api.output
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False
