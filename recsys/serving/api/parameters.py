"""The parameters of requests, of strict types."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError
from starlette.datastructures import QueryParams

from recsys.inference.sentences import LANGUAGE
from recsys.serving.errors import BadParameter
from recsys.serving.user_ids import SHOWN

ALIKE: Final = 0.65
"""Similarity from which a known name is proposed instead of an unknown one, see difflib."""
BEGINNING: Final = 3
"""Characters from which the beginning of a known name stands for it."""
NUMBER: Final = re.compile(r"-?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
"""A number as JSON writes it, or without a digit before or after the point. A long text takes linear time."""
LONGEST_TAG: Final = 35
"""Characters of the tag of a language (RFC 5646, 4.4.1)."""
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


def _language(text: Any) -> Any:
    """The text, if it can be the tag of a language."""
    if not isinstance(text, str) or len(text) > LONGEST_TAG or not LANGUAGE.fullmatch(text):
        raise PydanticCustomError("language_tag", "expected the tag of a language such as de or pt-BR")
    return text


User = Annotated[str, Field(description="The id as in the data: an integer or a text", examples=["3"])]
"""The id of a user. It is a part of the path, or a parameter of a route without it in its path."""
Item = Annotated[str, Field(description="The id as in the data: an integer or a text", examples=["48030"])]
"""The id of an item. It is a part of the path, or a parameter of a route without it in its path."""
Limit = Annotated[
    int, Field(ge=1, le=50), BeforeValidator(_digits), Query(description="How many at most", examples=[5])
]
PlainFraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(_number)]
Language = Annotated[str, Field(pattern=f"^{LANGUAGE.pattern}$", max_length=LONGEST_TAG), BeforeValidator(_language)]
"""The tag of a language."""
Flag = Annotated[bool, BeforeValidator(_flag)]


def check_names(parameters: QueryParams, names: Sequence[str]) -> None:
    """Raise BadParameter for a parameter that is not among the names, or that is given twice."""
    for name in parameters:
        if name not in names:
            raise BadParameter(f"unknown parameter {shown(name)}; {hint(name[:SHOWN].lower(), names)}")
    given = [name for name, _ in parameters.multi_items()]
    if len(given) > len(parameters):
        twice = next(name for name in parameters if given.count(name) > 1)
        raise BadParameter(f"parameter {twice} is given {given.count(twice)} times; expected one value")


def shown(name: str) -> str:
    """The beginning of a name, in quotes if it would be hard to see."""
    start = name[:SHOWN]
    return start if start and start.isprintable() else repr(start)


def hint(name: str, names: Sequence[str]) -> str:
    """The nearest known name, or all of them if none is near."""
    begun = [known for known in names if len(name) >= BEGINNING and known.startswith(name)]
    if near := get_close_matches(name, names, 1, ALIKE) or begun:
        return f"did you mean {near[0]}?"
    return f"expected one of: {', '.join(names)}" if names else "this route has no parameters"
