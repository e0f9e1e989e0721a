"""URLs are read as libpq reads them, whatever they hold; libpq itself is asked."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import psycopg
from hypothesis import assume, example, given
from hypothesis import strategies as st
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from relaykit.shared.errors import SettingsError
from relaykit.shared.postgres.conninfo import SCHEMES, VARIABLES, parse_url
from tests.support.examples import examples

PIECES = st.sampled_from(
    [*":@/?#[]&=+,%;.~ab1ü", "%41", "%2F", "%zz", "%00", "[::1]", "host", "port", "ssl=true"]
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)
NAMES = st.sampled_from(["host", "port", "user", "password", "dbname", "sslmode", "options", "ssl", "us%65r"])
KNOWN = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
QUERIES = st.lists(st.tuples(NAMES, TEXTS).map("=".join), max_size=3).map("&".join)


@st.composite
def urls(draw: st.DrawFn) -> str:
    credentials = draw(st.none() | TEXTS)
    place, path, query = draw(TEXTS), draw(st.none() | TEXTS), draw(st.none() | QUERIES)
    return "".join(
        [
            draw(st.sampled_from(SCHEMES)),
            f"{credentials}@" if credentials is not None else "",
            place,
            f"/{path}" if path is not None else "",
            f"?{query}" if query is not None else "",
        ]
    )


def is_text(url: str) -> bool:
    """Whether it is UTF-8 once nothing is escaped: of libpq's bytes we take no others."""
    try:
        unquote_to_bytes(url).decode()
    except UnicodeDecodeError:
        return False
    return True


@examples(400)
@given(urls())
@example("postgresql://u:p#w?x[y@h1:1,[::1]:2,h3/d?ssl=true&user=v&")
@example("postgresql://")
def test_a_url_is_read_as_libpq_reads_it(url: str) -> None:
    assume(is_text(url))
    try:
        expected = {name: value for name, value in conninfo_to_dict(url).items() if value}
    except (psycopg.Error, UnicodeDecodeError):
        expected = None
    try:
        found = parse_url(url)
    except SettingsError as error:
        assert expected is None, error  # noqa: PT017
    else:
        # an unknown parameter is refused later, with a line of its own
        known = {name: value for name, value in found.items() if value} if KNOWN.issuperset(found) else None
        assert known == expected


def test_the_variables_are_those_of_libpq() -> None:
    known = {
        option.keyword.decode(): option.envvar.decode()
        for option in pq.Conninfo.get_defaults()
        if option.envvar is not None
    }
    assert known.pop("service") == "PGSERVICE"
    assert known == VARIABLES
