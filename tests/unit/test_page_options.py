"""What a server offers in the demo page is data: it is read without calling the server, and refused where it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relaykit.api.local.page_options import MAX_BYTES, page_options
from relaykit.shared.errors import ServerLoadError


class Server:
    pass


def with_options(options: Any) -> Server:
    server = Server()
    server.relaykit_page_options = options  # type: ignore[attr-defined]
    return server


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(depth):
        inner = {"inner": inner}
    return inner


def circle() -> dict[str, Any]:
    options: dict[str, Any] = {}
    options["again"] = options
    return options


def test_a_server_without_it_offers_nothing() -> None:
    assert page_options(Server()) == b"{}"


def test_it_may_be_the_classs_or_the_servers_own() -> None:
    class Offering:
        relaykit_page_options = {"tools": [{"id": "search"}]}

    assert json.loads(page_options(Offering())) == {"tools": [{"id": "search"}]}
    assert json.loads(page_options(with_options({"dictation": True}))) == {"dictation": True}


def test_no_code_of_the_servers_runs() -> None:
    """A property is no data; neither it nor `__getattr__` is asked."""

    class Asked:
        @property
        def relaykit_page_options(self) -> dict[str, Any]:
            raise AssertionError("was called")

        def __getattr__(self, name: str) -> Any:
            raise AssertionError("was called")

    with pytest.raises(ServerLoadError, match="relaykit_page_options of Asked: is a property, not a dict"):
        page_options(Asked())


class Mine(dict[str, Any]):
    def items(self) -> Any:
        raise AssertionError("was called")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (None, "is a NoneType, not a dict"),
        ([], "is a list, not a dict"),
        (Mine(tools=[]), "is a Mine, not a dict"),
        ({"tools": [object()]}, "is no JSON"),
        ({"tools": {1, 2}}, "is no JSON"),
        ({"n": float("nan")}, "is no JSON"),
        ({("a", "b"): 1}, "is no JSON"),
        (circle(), "is no JSON"),
        (nested(100_000), "is no JSON"),
        ({"words": "x" * MAX_BYTES}, f"has more than {MAX_BYTES} bytes"),
    ],
    ids=range(10),
)
def test_what_is_no_dict_of_json_is_refused(options: Any, problem: str) -> None:
    with pytest.raises(ServerLoadError, match=problem):
        page_options(with_options(options))
