"""schemathesis over the API's own description, at a real API: no 500, and nothing that the description does not say."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from relaykit.shared.settings import Settings
from tests.integration.written import Written, written
from tests.support.examples import GIVEN
from tests.support.fuzzing import fresh_settings, served, signed_in
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import ROOT, Answer, create

EXAMPLES = 12
NOT_CHECKED = "positive_data_acceptance,negative_data_rejection"
"""ChatKit takes "5" for a number, and a message with nothing in it is refused though its schema is kept."""
TIMEOUT_SECONDS = 600 + GIVEN


@dataclass(frozen=True)
class Ground:
    client: httpx2.Client
    settings: Settings

    def ask(self, kind: str, **params: Any) -> Any:
        response = self.client.post("/chatkit", json={"type": kind, "params": params})
        assert response.status_code == 200, response.text
        return response.json()

    def written(self) -> Written:
        return asyncio.run(written(self.settings.database_url, self.settings.redis_url))


@pytest.fixture(scope="module")
def ground(
    databases: Databases, redis_databases: RedisDatabases, issuer_key_file: Path, tmp_path_factory: Any
) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("attachments")
    with (
        fresh_settings(databases, redis_databases, issuer_key_file, folder) as settings,
        served(settings) as system,
        signed_in(system) as client,
    ):
        yield Ground(client, settings)


def existing_ids(ground: Ground, *, signed: bool) -> dict[str, list[Any]]:
    """Ids of what alice has, for tests/properties/schemathesis_ids.py."""
    found: dict[str, list[Any]] = {
        "thread_id": [],
        "item_id": [],
        "run_id": [],
        "attachments": [],
        "links": [],
    }
    for text in ["hello", "widget", "tool", "questions"] * 4:
        response = ground.client.post("/chatkit", json=create(text))
        answer = Answer(response.status_code, response.headers, response.content)
        found["run_id"].append(answer.run_id)
        found["thread_id"].append(answer.thread_id)
        items = ground.ask("items.list", thread_id=answer.thread_id)["data"]
        found["item_id"] += [item["id"] for item in items]
    for _ in range(4):
        file = ground.ask("attachments.create", name="a.png", size=3, mime_type="image/png")
        found["attachments"].append(file["id"])
        for url in (file["upload_descriptor"]["url"], file["preview_url"]):
            query = dict(parse_qsl(urlsplit(url).query)) if signed else {}
            found["links"].append({"attachment_id": file["id"], "query": query})
    return found


def fuzz(ground: Ground, folder: Path, ids: dict[str, list[Any]], *arguments: str) -> None:
    """Runs schemathesis over GET /openapi.json. Fails where it found something, or left a route out."""
    url = f"{str(ground.client.base_url).rstrip('/')}/openapi.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", url),
            *("--max-examples", str(GIVEN or EXAMPLES), "--continue-on-failure", "--no-color"),
            *("--exclude-checks", NOT_CHECKED, "--warnings", "off", *arguments),
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.properties.schemathesis_ids",
            "FUZZ_IDS": json.dumps(ids),
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    paths = ground.client.get("/openapi.json").json()["paths"]
    operations = sum(len(methods) for methods in paths.values())
    assert f"Tested: {operations}\n" in done.stdout


def test_with_a_token(ground: Ground, tmp_path: Path) -> None:
    """Every route, by every phase that schemathesis has; and what wants a token wants a good one."""
    token = ground.client.headers["Authorization"]
    fuzz(ground, tmp_path, existing_ids(ground, signed=True), "--header", f"Authorization: {token}")


def test_without_a_token(ground: Ground, tmp_path: Path) -> None:
    """Nothing is written by all of it."""
    ids = existing_ids(ground, signed=False)
    before = ground.written()
    fuzz(ground, tmp_path, ids, "--phases", "fuzzing")
    assert ground.written().rows == before.rows
