"""The API's description: complete, true to docs/protocol.md and to the SDK's requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chatkit.types import NonStreamingReq, StreamingReq
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from relaykit.api.http.errors import CODE_OF_STATUS, STATUS
from relaykit.api.main import create_app
from relaykit.shared import errors
from tests.support.repository.error_catalogue import documented_errors
from tests.support.servers.protocol_servers import BareServer
from tests.support.system import make_settings

NOT_DESCRIBED = {
    *("/", "/demo", "/demo/options.json", "/demo/{path:path}"),
    *("/ops", "/ops/", "/ops/options.json", "/ops/{name}"),
    "/openapi.json",
}
"""Local mode's page, the console's, and the description itself."""
AT_START_OR_IN_A_WORKER = {
    errors.SettingsError,
    errors.ServerLoadError,
    errors.SchemaOutdated,
    errors.MigrationFailed,
    errors.TokenUnreadable,
    errors.Fenced,
    errors.BodyRepeated,
}
"""What no route raises."""

Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def app(issuer_key_file: Path) -> FastAPI:
    settings = make_settings(
        "redis://unused",
        "postgresql://unused/unused",
        issuer_key_file,
        1,
        attachments_url="memory:///",
        attachments_key="k" * 43,
        ops_claim="ops",
    )
    return create_app(settings, BareServer(store=None))


def test_without_a_key_file_the_application_issues_no_tokens(issuer_key_file: Path) -> None:
    settings = make_settings("redis://unused", "postgresql://unused/unused", issuer_key_file, 1)
    assert "/dev/token" in create_app(settings, BareServer(store=None)).openapi()["paths"]
    without = settings.model_copy(update={"local_issuer_key_file": None})
    assert not [
        path for path in create_app(without, BareServer(store=None)).openapi()["paths"] if "/dev/" in path
    ]


@pytest.fixture(scope="module")
def operations(app: FastAPI) -> list[Operation]:
    paths = app.openapi()["paths"]
    return [(path, method, operation) for path, found in paths.items() for method, operation in found.items()]


def test_the_list_of_threads_is_described_with_its_order_of_ours(app: FastAPI) -> None:
    params = app.openapi()["components"]["schemas"]["ThreadListParams"]
    assert params["properties"]["order_by"]["const"] == "activity"
    assert "order_by" not in params.get("required", [])


def described_errors(operation: dict[str, Any]) -> set[tuple[int, str]]:
    found = set()
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            error = response["content"]["application/json"]["schema"]["properties"]["error"]
            found |= {(int(status), code) for code in error["properties"]["code"]["enum"]}
    return found


def test_every_route_is_described(app: FastAPI, operations: list[Operation]) -> None:
    routes = {(route.path, method) for route in iter_route_contexts(app.routes) for method in route.methods}
    described = {(path, method.upper()) for path, method, _ in operations}
    assert {(path, method) for path, method in routes if path not in NOT_DESCRIBED} == described


def test_every_described_error_is_documented(operations: list[Operation]) -> None:
    """And every error that is an answer to be expected has a status of its own, none a bare description."""
    for path, method, operation in operations:
        for status, code in described_errors(operation):
            assert code in documented_errors().get(status, ()), (method, path, status, code)


def test_every_documented_error_is_described_for_some_route(operations: list[Operation]) -> None:
    described = {error for _, _, operation in operations for error in described_errors(operation)}
    documented = {(status, code) for status, codes in documented_errors().items() for code in codes}
    before_any_route = {(405, "method_not_allowed")}
    assert documented - described == before_any_route


def test_every_domain_error_is_described_for_some_route(operations: list[Operation]) -> None:
    """A new error has to be told where it can happen."""
    described = {error for _, _, operation in operations for error in described_errors(operation)}
    missing = {kind for kind, status in STATUS.items() if (status, kind.code) not in described}
    assert missing == AT_START_OR_IN_A_WORKER


def test_what_the_framework_refuses_is_documented() -> None:
    documented = {(status, code) for status, codes in documented_errors().items() for code in codes}
    assert set(CODE_OF_STATUS.items()) <= documented


def test_the_routes_that_can_refuse_a_caller_name_the_token(
    app: FastAPI, operations: list[Operation]
) -> None:
    assert app.openapi()["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    secured = {(path, method) for path, method, operation in operations if "security" in operation}
    refusing = {(path, method) for path, method, operation in operations if "401" in operation["responses"]}
    assert secured == refusing
    assert ("/chatkit", "post") in secured


def test_the_sixteen_requests_are_described(app: FastAPI) -> None:
    """By the SDK's own models; their type is required, as the protocol has it."""
    description = app.openapi()
    body = description["paths"]["/chatkit"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schemas = description["components"]["schemas"]
    union = schemas[body["$ref"].rpartition("/")[2]]
    types = {
        model.model_fields["type"].default for model in (*StreamingReq.__args__, *NonStreamingReq.__args__)
    }
    assert set(union["discriminator"]["mapping"]) == types
    for reference in union["discriminator"]["mapping"].values():
        assert {"type", "params"} <= set(schemas[reference.rpartition("/")[2]]["required"])


def test_no_reference_of_the_description_leads_nowhere(app: FastAPI) -> None:
    description = app.openapi()
    schemas = description["components"]["schemas"]
    for reference in references(description):
        assert reference.removeprefix("#/components/schemas/") in schemas, reference


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(child) for child in value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()
