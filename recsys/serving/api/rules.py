"""Filters and rules in the parameters of a GET request.

A parameter with several entries separates them by commas, or is a JSON list of texts, for ids with a comma in them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError
from starlette.datastructures import QueryParams

from recsys.rules.request import Boost, Cap, Pin, RequestRules, Target
from recsys.serving.api.parameters import FLAG_WORDS, FLAGS, NUMBER
from recsys.serving.errors import BadParameter
from recsys.serving.user_ids import SHOWN

Parsed = Mapping[str, Any]
"""Fields of RequestRules with their values."""


def rules_of(query: QueryParams) -> RequestRules | None:
    """The filters and rules among the parameters of a request, None without any.

    Raises BadParameter that names the parameter, its value and the form it should have.
    """
    if PARAMETERS.keys().isdisjoint(query):
        return None
    fields: dict[str, Any] = {}
    for name, parameter in PARAMETERS.items():
        text = query.get(name)
        if text is None:
            continue
        try:
            parsed = parameter.parse(text)
            for key, value in parsed.items():
                fields[key] = (*fields[key], *value) if key in fields else value
            RequestRules.model_validate(parsed)
        except ValidationError as error:
            problem = error.errors()[0]
            message = str(problem["msg"]).removeprefix("Value error, ")
            raise BadParameter(f"{name}: {message}, found {text[:SHOWN]!r}") from error
        except (ValueError, RecursionError) as error:
            raise BadParameter(f"{name}: expected {parameter.form}, found {text[:SHOWN]!r}") from error
    return RequestRules.model_validate(fields)


def _entries(text: str) -> Sequence[str]:
    """The entries of a parameter; raises ValueError."""
    if not text.startswith("["):
        entries = text.split(",")
    else:
        entries = json.loads(text)
        if not isinstance(entries, list) or not all(isinstance(entry, str | int) for entry in entries):
            raise ValueError("no list of texts")
        entries = [str(entry) for entry in entries]
    if not all(entries):
        raise ValueError("an entry is empty")
    return entries


def _number(text: str) -> float:
    if not NUMBER.fullmatch(text):
        raise ValueError("no number")
    return float(text)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ValueError("no whole number")
    return int(text)


def _target(kind: str, value: str) -> Target:
    """The items of `kind:value`, where the kind is item, category or the name of an attribute."""
    if not kind or not value:
        raise ValueError("expected kind:value")
    if kind == "item":
        return Target(items=(value,))
    return Target(categories=(value,)) if kind == "category" else Target(attribute=kind, values=(value,))


def _flag(key: str) -> Callable[[str], Parsed]:
    def parse(text: str) -> Parsed:
        if text not in FLAGS:
            raise ValueError("no flag")
        return {key: FLAGS[text]}

    return parse


def _categories(key: str) -> Callable[[str], Parsed]:
    return lambda text: {key: (Target(categories=tuple(_entries(text))),)}


def _values(key: str) -> Callable[[str], Parsed]:
    def parse(text: str) -> Parsed:
        by_attribute: dict[str, list[str]] = {}
        for entry in _entries(text):
            attribute, colon, value = entry.partition(":")
            if not (attribute and colon and value):
                raise ValueError("expected attribute:value")
            by_attribute.setdefault(attribute, []).append(value)
        return {key: tuple(Target(attribute=name, values=tuple(values)) for name, values in by_attribute.items())}

    return parse


def _between(text: str) -> Parsed:
    targets = []
    for entry in _entries(text):
        attribute, low, high = entry.rsplit(":", 2)
        bounds = tuple(_number(bound) if bound else None for bound in (low, high))
        targets.append(Target.model_validate({"attribute": attribute, "between": bounds}))
    return {"only": tuple(targets)}


def _moved(key: str) -> Callable[[str], Parsed]:
    def parse(text: str) -> Parsed:
        moved = []
        for entry in _entries(text):
            target, _, factor = entry.rpartition(":")
            kind, _, value = target.partition(":")
            moved.append(Boost(factor=_number(factor), where=_target(kind, value)))
        return {key: tuple(moved)}

    return parse


def _caps(text: str) -> Parsed:
    parts = [entry.rpartition(":") for entry in _entries(text)]
    if not all(per for per, _, _ in parts):
        raise ValueError("expected per:number")
    return {"cap": tuple(Cap(at_most=_whole(number), per=per) for per, _, number in parts)}


def _pins(text: str) -> Parsed:
    parts = [entry.rpartition(":") for entry in _entries(text)]
    if not all(item for item, _, _ in parts):
        raise ValueError("expected item:position")
    return {"pin": tuple(Pin(item=item, position=_whole(position)) for item, _, position in parts)}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: how its text becomes fields of RequestRules, and how the documentation describes it."""

    parse: Callable[[str], Parsed]
    form: str
    meaning: str
    example: str | bool | float
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string", "minLength": 1})


BOOLEAN: Final = {"type": "boolean"}
PARAMETERS: Final[Mapping[str, Parameter]] = {
    "exclude_purchased": Parameter(
        _flag("exclude_purchased"), FLAG_WORDS, "Leave out items that the user bought", True, BOOLEAN
    ),
    "exclude_seen": Parameter(
        _flag("exclude_seen"), FLAG_WORDS, "Leave out all items of the user's events", True, BOOLEAN
    ),
    "exclude": Parameter(
        lambda text: {"exclude": tuple(_entries(text))},
        "ids separated by commas",
        "Leave out these items; unknown ids are harmless",
        "48030,48031",
    ),
    "only_categories": Parameter(
        _categories("only"),
        "ids separated by commas",
        "Only items of these categories or of those below them",
        "12,13",
    ),
    "without_categories": Parameter(
        _categories("without"), "ids separated by commas", "No item of these categories or of those below them", "14"
    ),
    "only_values": Parameter(
        _values("only"),
        "attribute:value, separated by commas",
        "Only items with one of the values of each attribute named",
        "brand:Acme,brand:Bolt",
    ),
    "without_values": Parameter(
        _values("without"), "attribute:value, separated by commas", "No item with one of these values", "brand:Acme"
    ),
    "between": Parameter(
        _between,
        "attribute:low:high with numbers, where one of the two may be empty",
        "Only items whose number lies between the bounds, both included",
        "price:10:50",
    ),
    "availability": Parameter(
        lambda text: {"availability": text},
        "available or any",
        "`any` also allows items that are not available",
        "available",
        {"type": "string", "enum": ["available", "any"]},
    ),
    "boost": Parameter(
        _moved("boost"),
        "kind:value:factor, where kind is item, category or an attribute, and factor is 1 or more",
        "Multiply the odds of the items by the factor, so that they move up; scores stay",
        "brand:Acme:2",
    ),
    "bury": Parameter(
        _moved("bury"),
        "kind:value:factor, where kind is item, category or an attribute, and factor is 1 or more",
        "Divide the odds of the items by the factor, so that they move down; scores stay",
        "category:12:3",
    ),
    "max_per": Parameter(
        _caps,
        "category:number or attribute:number",
        "At most so many items of each category, or with each value of an attribute",
        "category:2",
    ),
    "diversity": Parameter(
        lambda text: {"diversity": _number(text)},
        "a number from 0 to 1",
        "Weight of the difference from the items before",
        0.3,
        {"type": "number", "minimum": 0, "maximum": 1},
    ),
    "pin": Parameter(
        _pins, "item:position, separated by commas", "Items at fixed positions, counted from 1", "48030:1"
    ),
    "rules_file": Parameter(
        _flag("rules_file"), FLAG_WORDS, "Whether the rules of the service's file hold for this request", True, BOOLEAN
    ),
}


def documented() -> dict[str, Any]:
    """The parameters for the OpenAPI document of a route."""
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                # In the schema: an example of the parameter would be sent by the page of the documentation.
                "schema": {**parameter.schema, "title": name, "examples": [parameter.example]},
                "description": f"{parameter.meaning}. Form: {parameter.form}",
            }
            for name, parameter in PARAMETERS.items()
        ]
    }
