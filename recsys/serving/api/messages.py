"""The shared parts of the messages that go over HTTP.

A message is a TypedDict. Its class names the fields and describes them in the OpenAPI document; a function beside it
fills them from domain objects, checked by mypy. The message itself is the dict that becomes JSON, so that a response
costs no validation and no second copy.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, NotRequired

import numpy as np
import pyarrow as pa
from fastapi.responses import Response
from pydantic import ConfigDict, Field, with_config
from pydantic_core import to_json
from typing_extensions import TypedDict

from recsys.registry.bundle import Bundle

message: Final = with_config(ConfigDict(use_attribute_docstrings=True))
"""Decorator of messages: the texts under the fields go into the OpenAPI document."""


UserId = Annotated[int | str, Field(examples=[3])]
ItemId = Annotated[int | str, Field(examples=[48030])]
CategoryId = Annotated[int | str | None, Field(examples=[1173])]
UserType = Literal["warm", "cold"]
Time = Annotated[str, Field(description="UTC", examples=["2015-08-01 07:10:35.296000"])]
VersionName = Annotated[str, Field(examples=["v20261123-083501-3fa9c1"])]
Count = Annotated[int, Field(ge=0, examples=[200])]
Fraction = Annotated[float, Field(ge=0, le=1, examples=[0.42])]
Note = Annotated[
    str,
    Field(
        description="Why the list is empty, where filters leave nothing",
        examples=["no item of this version passes the filter only brand Acme"],
    ),
]

Title = Annotated[
    str | None,
    Field(
        description="The item's title, in versions with titles; null where the item has none.",
        examples=["Green tea, 100 g"],
    ),
]
Image = Annotated[
    str | None,
    Field(
        description="The address of the item's image as the shop's data give it, in versions with images.",
        examples=["https://example.com/tea.jpg"],
    ),
]

SAFE: Final = {"X-Content-Type-Options": "nosniff"}
"""Header of every response: a browser takes it for what its type says, and runs no text as a script."""


def user_type(warm: bool) -> UserType:
    """The name of a user's type; warm: whether an event is on an item with a factor."""
    return "warm" if warm else "cold"


def categories_of(bundle: Bundle, items: np.ndarray) -> list[int | str | None]:
    """The id of each item's category, None where it has none; items: int (n,), codes."""
    return bundle.categories.to_list_or_none(bundle.tables.statistics.category[items])


class Texts(TypedDict):
    """The texts of an item, in messages that list items."""

    title: NotRequired[str | None]
    image: NotRequired[str | None]


def add_texts(listed: Sequence[Texts], bundle: Bundle, items: np.ndarray) -> None:
    """Add the texts that the version has to the messages of some items; items: int (n,), codes."""
    if not bundle.texts:
        return
    codes = pa.array(items)
    if "title" in bundle.texts:
        for row, title in zip(listed, bundle.texts["title"].take(codes).to_pylist(), strict=True):
            row["title"] = title
    if "image" in bundle.texts:
        for row, image in zip(listed, bundle.texts["image"].take(codes).to_pylist(), strict=True):
            row["image"] = image


class Noted(TypedDict):
    """A message that may have a note."""

    note: NotRequired[str]


def add_note(noted: Noted, note: str | None) -> None:
    """Add a note to a message; None for no note."""
    if note is not None:
        noted["note"] = note


def utc_text(time: int) -> str:
    """2015-08-01 07:10:35.296000 from ms since 1970: UTC, as the descriptions of the fields tell."""
    return datetime.fromtimestamp(time / 1000, UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def json_response(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with a message as its body."""
    body = to_json(content, inf_nan_mode="null")  # four times as fast as `json`
    return Response(body, status, {**SAFE, **headers} if headers else SAFE, media_type="application/json")
