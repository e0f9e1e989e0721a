"""A site as processes, and visitors in browsers of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from tests.e2e.client.site_processes import Site, site_of
from tests.e2e.client.visitor import Visitor
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import free_port, make_settings


@pytest.fixture(scope="package")
def site(
    redis_databases: RedisDatabases,
    databases: Databases,
    issuer_key_file,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        folder = tmp_path_factory.mktemp("site")
        (folder / "attachments").mkdir()
        settings = make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            free_port(),
            chatkit_server="tests.e2e.client.server:ClientServer",
            jwt_leeway_seconds=0,
            attachments_url=(folder / "attachments").as_uri(),
            attachments_key="k" * 32,
        )
        with site_of(settings, folder) as running:
            yield running


@pytest.fixture
def visitors(browser: Browser, site: Site) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors. At the end none of their pages has had an error of its own."""
    made: list[Visitor] = []

    def visitor(name: str, at: str | None = None, *, ttl_seconds: int = 600) -> Visitor:
        made.append(Visitor(browser, at or site.address, name, ttl_seconds=ttl_seconds))
        return made[-1].visit()

    yield visitor
    errors = {visitor.name: visitor.errors for visitor in made if visitor.errors}
    for each in made:
        each.context.close()
    assert errors == {}
