"""What is said of a setting that is wrong: its name and what it must be, never its value."""

from __future__ import annotations

from pydantic_core import ErrorDetails

_MUST_BE = {
    "missing": "is not set",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
}
"""By pydantic's type of the mistake, where pydantic's own words are none for an operator."""


def sentence(problem: ErrorDetails) -> str:
    """`NAME: must be …`, or the sentence alone where it is about several settings."""
    text = _MUST_BE.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    name = ".".join(map(str, problem["loc"])).upper()
    return f"{name}: {text.replace('Input should be', 'must be')}" if name else text
