"""The parameters of requests: strict types, and routes that refuse a parameter they do not have."""

import re
from collections.abc import Awaitable, Callable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError
from starlette.datastructures import QueryParams

from recsys.serving.errors import BadParameter
from recsys.serving.user_ids import SHOWN

ALIKE: Final = 0.5
"""Similarity from which a known name is proposed instead of an unknown one, see difflib."""
NUMBER: Final = re.compile(r"-?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
"""A number as JSON writes it, or without a digit before or after the point. A long text takes linear time."""
FLAGS: Final = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}
"""The words of a flag: clients in JavaScript, Python and PHP write it differently."""
FLAG_WORDS: Final = "`true` or `false`, also written `True` and `False` or `1` and `0`"
"""The same for the descriptions of parameters."""


def _digits(text: str) -> str:
    """The text, if it has digits alone: pydantic would also take 5_0, +5 and 5.0."""
    if not (text.isascii() and text.isdecimal()):
        raise PydanticCustomError("int_parsing", "expected a whole number in digits alone")
    return text


def _number(text: str) -> str:
    """The text, if it is a plain number: pydantic would also take 1_0, +.5 and spaces around it."""
    if not NUMBER.fullmatch(text):
        raise PydanticCustomError("float_parsing", "expected a number such as 0.5")
    return text


def _flag(text: str) -> bool:
    value = FLAGS.get(text)
    if value is None:
        raise PydanticCustomError("bool_parsing", "expected true or false")
    return value


User = Annotated[str, Field(description="The id as in the data: an integer or a text", examples=["3"])]
"""The id of a user. It is a part of the path, or a parameter of a route without it in its path."""
Limit = Annotated[
    int, Field(ge=1, le=50), BeforeValidator(_digits), Query(description="How many at most", examples=[5])
]
PlainFraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(_number)]
Flag = Annotated[bool, BeforeValidator(_flag)]


class StrictRoute(APIRoute):
    """A route that refuses a parameter which it does not have, and one that is given twice."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """See APIRoute. Requests without parameters pass at once."""
        handle = super().get_route_handler()
        names = tuple(field.alias for field in self.dependant.query_params)

        async def handle_known(request: Request) -> Response:
            if request.scope["query_string"]:
                check_names(request.query_params, names)
            return await handle(request)

        return handle_known


def check_names(parameters: QueryParams, names: Sequence[str]) -> None:
    """Raise BadParameter for a parameter that is not among the names, or that is given twice."""
    for name in parameters:
        if name not in names:
            raise BadParameter(f"unknown parameter {_shown(name)}; {_hint(name[:SHOWN].lower(), names)}")
    given = [name for name, _ in parameters.multi_items()]
    if len(given) > len(parameters):
        twice = next(name for name in parameters if given.count(name) > 1)
        raise BadParameter(f"parameter {twice} is given {given.count(twice)} times; expected one value")


def _shown(name: str) -> str:
    """The beginning of a name, in quotes if it would be hard to see."""
    start = name[:SHOWN]
    return start if start and start.isprintable() else repr(start)


def _hint(name: str, names: Sequence[str]) -> str:
    """The nearest known name, or all of them if none is near."""
    if near := get_close_matches(name, names, 1, ALIKE):
        return f"did you mean {near[0]}?"
    return f"expected one of: {', '.join(names)}" if names else "this route has no parameters"


def add_user_route(api: FastAPI, path: str, respond: Callable[..., Any], responses: dict[int | str, Any]) -> None:
    """Add a route with the id of a user in its path, and the same route with the id as a parameter.

    path: with `/{user_id:path}` in it; respond: a function with the parameter `user_id: User`
    """
    api.get(path, responses=responses, response_model=None)(respond)
    api.get(
        path.replace("/{user_id:path}", ""),
        description=f"{respond.__doc__} The id may also be `.` or `..` here: clients take these out of a path.",
        responses=responses,
        response_model=None,
    )(respond)
