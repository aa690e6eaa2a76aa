"""Bodies of requests: bounded, JSON, and checked as strictly as parameters are."""

import asyncio
import json
import sys
from collections import Counter
from functools import cache
from typing import Any, Final

from fastapi import Request
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError
from starlette.requests import ClientDisconnect
from starlette.types import Message

from recsys.rules.request import RequestRules
from recsys.serving.api.parameters import hint, shown
from recsys.serving.errors import BadParameter, BodyTooLarge, BodyTooSlow
from recsys.serving.user_ids import SHOWN

EXACT: Final = 2**53
"""From here on a float does not hold every integer."""
JSON: Final = "application/json"
MAX_BODY: Final = 1 << 18
"""Bytes of a body at most."""
BODY_SECONDS: Final = 5.0
"""Time in which a whole body has to come. So slow clients do not fill the replica."""


def whole(value: Any) -> Any:
    """The integer for a number of JSON such as 8.0, which is one; any other value as it is."""
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return int(value)
    return value


class Body(BaseModel):
    """Base of JSON bodies: strict types, and no unknown field."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        """The value as it is; raises an error with the nearest name for a field that the body does not have."""
        if not isinstance(value, dict):
            raise PydanticCustomError("object", "expected a JSON object")
        names = _names_of(cls)
        for name in value:
            if name not in names:
                near = hint(name[:SHOWN].lower(), names)
                raise PydanticCustomError("name", "unknown field {name}; {hint}", {"name": shown(name), "hint": near})
        return value


class RuledBody(Body, RequestRules):
    """Base of JSON bodies with filters and rules among their fields."""

    def rules(self) -> RequestRules | None:
        """The filters and rules of the request; None without any."""
        given = self.model_fields_set & RequestRules.model_fields.keys()
        return RequestRules.model_validate({name: getattr(self, name) for name in given}) if given else None


@cache
def _names_of(body: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a body as JSON names them."""
    return tuple(field.alias or name for name, field in body.model_fields.items())


class ReadRequest(Request):
    """A request whose body is read: the same request with the value that its body spells."""

    def __init__(self, request: Request, content: bytes, value: Any) -> None:
        """content: the body; value: what the JSON in it means."""

        async def receive() -> Message:
            return {"type": "http.request", "body": content, "more_body": False}

        super().__init__(request.scope, receive)
        self._value = value

    async def json(self) -> Any:
        """The value of the body."""
        return self._value


async def with_json(request: Request) -> Request:
    """The request with its body read.

    Raises BadParameter for another content type, a body that is cut off and what `value_of` refuses, BodyTooLarge
    beyond MAX_BODY, BodyTooSlow after BODY_SECONDS.
    """
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != JSON:
        raise BadParameter(f"content-type is {shown(given)}; expected {JSON}")
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > MAX_BODY:
                    raise BodyTooLarge(f"the body has more than {MAX_BODY:,} bytes")
    except ClientDisconnect:  # nobody reads the response; the access log has its status
        raise BadParameter("the client left before its body was here") from None
    except TimeoutError:
        raise BodyTooSlow(f"the body has not come within {BODY_SECONDS:g} s") from None
    return ReadRequest(request, bytes(content), value_of(content) if content else None)


def value_of(content: bytes | bytearray) -> Any:
    """The value that the JSON of a body spells.

    Raises BadParameter for what is not UTF-8 or no JSON, for a key that an object has twice, for an integer with more
    digits than Python reads, and for lists and objects that are nested too deeply.
    """
    try:
        text = content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise BadParameter(f"body: not UTF-8 at byte {error.start}") from None

    def integer(digits: str) -> int:
        try:
            return int(digits)
        except ValueError:
            place, count, most = text.find(digits), len(digits.lstrip("-")), sys.get_int_max_str_digits()
            problem = f"the integer at character {place} has {count:,} digits; expected at most {most:,}"
            raise BadParameter(f"body: {problem}") from None

    try:
        return json.loads(text, object_pairs_hook=_without_twins, parse_int=integer)
    except json.JSONDecodeError as error:
        raise BadParameter(f"body: not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise BadParameter("body: lists and objects are nested too deeply") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values; raises BadParameter for a key that is given twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        name, count = Counter(name for name, _ in pairs).most_common(1)[0]
        raise BadParameter(f"body: {shown(name)} is given {count} times; expected one value")
    return values
