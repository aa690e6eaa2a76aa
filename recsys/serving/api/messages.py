"""The shared parts of the messages that go over HTTP.

A message is a TypedDict. Its class names the fields and describes them in the OpenAPI document; a function beside it
fills them from domain objects, checked by mypy. The message itself is the dict that becomes JSON, so that a response
costs no validation and no second copy.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi.responses import Response
from pydantic import ConfigDict, Field, with_config

from recsys.registry.bundle import Bundle
from recsys.schema import UNKNOWN

message: Final = with_config(ConfigDict(use_attribute_docstrings=True))
"""Decorator of messages: the texts under the fields go into the OpenAPI document."""

encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""The JSON of a message; `json.dumps` would make an encoder for each."""

UserId = Annotated[int | str, Field(examples=[3])]
ItemId = Annotated[int | str, Field(examples=[48030])]
CategoryId = Annotated[int | str | None, Field(examples=[1173])]
UserType = Literal["warm", "cold"]
Time = Annotated[str, Field(description="UTC", examples=["2015-08-01 07:10:35.296000"])]
VersionName = Annotated[str, Field(examples=["v20261123-083501-3fa9c1"])]
Count = Annotated[int, Field(ge=0, examples=[200])]
Fraction = Annotated[float, Field(ge=0, le=1, examples=[0.42])]

SAFE: Final = {"X-Content-Type-Options": "nosniff"}
"""Header of every response: a browser takes it for what its type says, and runs no text as a script."""


def user_type(warm: bool) -> UserType:
    """The name of a user's type; warm: whether an event is on an item with a factor."""
    return "warm" if warm else "cold"


def category_of(bundle: Bundle, item: int) -> int | str | None:
    """The id of an item's category, None where it has none; item: a code."""
    code = int(bundle.tables.statistics.category[item])
    return None if code == UNKNOWN else bundle.categories[code]


def utc_text(time: int) -> str:
    """2015-08-01 07:10:35.296000 from ms since 1970: UTC, as the descriptions of the fields tell."""
    return datetime.fromtimestamp(time / 1000, UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def json_response(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with a message as its body."""
    return Response(encode(content), status, {**SAFE, **headers} if headers else SAFE, media_type="application/json")
