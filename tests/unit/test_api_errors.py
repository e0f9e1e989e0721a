"""Each domain error has its status, its body and its headers."""

from __future__ import annotations

import json

import pytest

from relaykit.api.http.errors import MAX_LOCATION_CHARS, MAX_LOCATIONS, STATUS, error_response, status_of
from relaykit.shared import errors
from relaykit.shared.errors import (
    DatabaseUnavailable,
    InvalidRequest,
    IssuerUnavailable,
    RelaykitError,
    RunNotFound,
    ThreadBusy,
    Unauthenticated,
)


def all_kinds(kind: type[RelaykitError] = RelaykitError) -> list[type[RelaykitError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in all_kinds(child))]


KINDS = [kind for kind in all_kinds() if kind.__module__.startswith(f"{errors.__name__}.")]


def body(error: Exception) -> dict[str, object]:
    return json.loads(error_response(error).body)["error"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_domain_error_has_a_line_of_its_own_in_the_table(kind):
    assert 400 <= STATUS[kind] < 600


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_domain_error_has_a_message_in_its_docstring(kind):
    assert kind.__doc__
    assert kind.__doc__.strip().endswith(".")


def test_no_two_domain_errors_share_a_code():
    codes = [kind.code for kind in KINDS]
    assert len(codes) == len(set(codes))


def test_the_body_is_code_and_message():
    response = error_response(RunNotFound())
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.body) == {
        "error": {"code": "run_not_found", "message": "There is no such run."}
    }


def test_a_subclass_without_a_line_has_its_parents_status():
    class Special(RunNotFound):
        """There is no such special run."""

    assert status_of(Special()) == 404


def test_an_error_of_the_servers_own_does_not_show_its_text():
    shown = body(DatabaseUnavailable("DATABASE_URL: cannot connect to db.internal as root"))
    assert shown == {"code": "database_unavailable", "message": "The database cannot be reached."}


def test_an_exception_that_nobody_foresaw_is_internal_and_does_not_show_its_text():
    response = error_response(ValueError("what the user wrote"))
    assert response.status_code == 500
    assert json.loads(response.body) == {"error": {"code": "internal", "message": "Something went wrong."}}


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (9.1, "10")])
def test_the_time_to_retry_is_in_whole_seconds_and_never_too_early(seconds, header):
    response = error_response(IssuerUnavailable(retry_after_seconds=seconds))
    assert response.headers["Retry-After"] == header


def test_what_is_away_may_be_asked_again_soon_and_what_is_wrong_may_not():
    assert error_response(IssuerUnavailable()).headers["Retry-After"] == "2"
    assert "Retry-After" not in error_response(RunNotFound()).headers


def test_a_busy_thread_names_the_run():
    assert error_response(ThreadBusy("run_1")).status_code == 409
    assert body(ThreadBusy("run_1"))["run_id"] == "run_1"


def test_an_invalid_request_lists_where_and_is_bounded():
    assert body(InvalidRequest(locations=["params.input"]))["locations"] == ["params.input"]
    many = body(InvalidRequest(locations=["x" * 1000] * 100))["locations"]
    assert len(many) == MAX_LOCATIONS
    assert {len(location) for location in many} == {MAX_LOCATION_CHARS}


def test_a_request_without_credentials_is_challenged_without_an_error():
    response = error_response(Unauthenticated())
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_bad_token_is_challenged_with_the_reason():
    response = error_response(Unauthenticated(reason="expired"))
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token", error_description="expired"'
