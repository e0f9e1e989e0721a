"""A small JSON body, as the model that it has to be."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from relaykit.shared.errors import InvalidJson, InvalidRequest

Model = TypeVar("Model", bound=BaseModel)


def parsed_body(body: bytes, model: type[Model]) -> Model:
    """Raises InvalidJson, and InvalidRequest with the places of what is wrong, which shows nothing of the body."""
    try:
        given = from_json(body)
    except ValueError:
        raise InvalidJson from None
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        locations = [".".join(map(str, ("body", *problem["loc"]))) for problem in problems]
        raise InvalidRequest(locations=locations) from None
