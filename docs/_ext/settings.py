"""Pages of settings, made from the pydantic models: key, type, default and meaning of every setting."""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types as bounds
import yaml
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from recsys.retrieval.sources.base import SourceConfig
from recsys.retrieval.sources.registry import SOURCES
from recsys.schema import Config

PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "any value", dict: "mapping"}
MANY = {"whole number": "whole numbers", "number": "numbers", "text": "texts", "any value": "values"}
BOUNDS: tuple[tuple[type[Any], str, str], ...] = (
    (bounds.Ge, "ge", "at least"),
    (bounds.Gt, "gt", "above"),
    (bounds.Le, "le", "at most"),
    (bounds.Lt, "lt", "below"),
)
CODE = re.compile(r"(`[^`]*`)")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its key such as `ranker.max_trees`, its type and default in words, and its meaning."""

    key: str
    type: str
    default: str | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Section:
    """A model of settings: its key ("" for the outermost), its meaning, and its own settings."""

    key: str
    meaning: str
    settings: tuple[Setting, ...]


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[Section]:
    """The model and then every model inside it, in the order of the code."""
    plain, inner = [], []
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, Config):
            inner.append((f"{key}.", nested))
            continue
        if named := _by_name(field):
            inner += [(f"{key}.{each}.", below) for each, below in named.items()]
            continue
        plain.append(Setting(key, type_of(field), default_of(field), meaning_of(model, name)))
    yield Section(prefix.rstrip("."), inspect.cleandoc(model.__doc__ or ""), tuple(plain))
    for below, nested in inner:
        yield from sections(nested, below)


def _by_name(field: FieldInfo) -> dict[str, type[Config]]:
    """The models of settings by name, such as one for each candidate source; empty where a field is something else."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if not isinstance(default, Mapping):
        return {}
    if any(isinstance(value, SourceConfig) for value in default.values()):  # not every shop has all sources
        return {name: SOURCES[name].settings for name in SOURCES.names}
    return {str(name): type(value) for name, value in default.items() if isinstance(value, Config)}


def all_settings(model: type[BaseModel]) -> dict[str, Setting]:
    """Every setting of a model by its key."""
    return {setting.key: setting for section in sections(model) for setting in section.settings}


def meaning_of(model: type[BaseModel], name: str) -> str:
    """The description of a field, or the text under it in the code; "" where there is neither."""
    if description := model.model_fields[name].description:
        return description
    texts = [text for owner in model.__mro__ if (text := attribute_docstrings(owner).get(name))]
    return next((text for text in texts if not text.startswith("See ")), "")  # "See Base." stands where it is in `Base`


@cache
def attribute_docstrings(owner: type[Any]) -> dict[str, str]:
    """The texts under the attributes of a class, by attribute; none where its code is not at hand."""
    try:
        source = textwrap.dedent(inspect.getsource(owner))
    except (OSError, TypeError):
        return {}
    body = ast.parse(source).body[0]
    if not isinstance(body, ast.ClassDef):
        return {}
    found = {}
    for line, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(line, ast.AnnAssign)
            and isinstance(line.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[line.target.id] = inspect.cleandoc(below.value.value)
    return found


def type_of(field: FieldInfo) -> str:
    """The type of a field in words, with its bounds."""
    if _is_range(field):
        return "a number such as `2`, or a range such as `1-4`"
    return _with_bounds(_spoken(field.annotation), field.metadata)


def _is_range(field: FieldInfo) -> bool:
    """Whether a field is two numbers that are written as text, such as numbers of replicas."""
    written = any(isinstance(item, BeforeValidator) for item in field.metadata)
    return written and field.annotation == tuple[int, int]


def _spoken(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        metadata = [m for item in annotation.__metadata__ for m in getattr(item, "metadata", [item])]
        return _with_bounds(_spoken(annotation.__origin__), metadata)
    if origin is not None:
        return GENERIC[origin](inner)
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return f"{annotation.__name__}, see below"
    return PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _union(inner: tuple[Any, ...]) -> str:
    kinds = [_spoken(item) for item in inner if item is not NoneType]
    return _alternatives(kinds + (["null"] if NoneType in inner else []))


def _list(inner: tuple[Any, ...]) -> str:
    if inner[-1] is not Ellipsis:
        kind, *bounds_of_each = _spoken(inner[0]).split(", ", 1)
        return ", ".join([f"list of {len(inner)} {MANY.get(kind, kind)}", *bounds_of_each])
    kind, *rest = _spoken(inner[0]).split(", ", 1)
    return ", ".join([f"list of {MANY.get(kind, kind)}", *rest])


def _alternatives(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


GENERIC: Mapping[Any, Callable[[tuple[Any, ...]], str]] = {
    Literal: lambda values: _alternatives([f"`{value}`" for value in values]),
    Union: _union,
    UnionType: _union,
    tuple: _list,
    dict: lambda inner: f"mapping to {_spoken(inner[1])}",
}
"""How a type with arguments is said, by its origin."""


def _with_bounds(kind: str, metadata: list[Any]) -> str:
    """A type with its bounds; those of an optional value stand before `or null`."""
    kind, null, _ = kind.partition(" or null")
    found = [
        f"{words} {getattr(item, name):g}" for item in metadata for bound, name, words in BOUNDS if type(item) is bound
    ]
    return ", ".join([kind, *found]) + (f"{',' if found else ''}{null}" if null else "")


def default_of(field: FieldInfo) -> str | None:
    """The default as one writes it in YAML, None where the setting has to be given."""
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    if _is_range(field):
        return "-".join(map(str, dict.fromkeys(value)))  # replicas: 1, or 1-4
    return _yaml(value)


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}" if value and abs(value) < 1e-3 else str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    return _yaml_text(value) if isinstance(value, str) else str(value)


def _yaml_text(text: str) -> str:
    """A text as YAML reads it in a list: in quotes, if it would be something else without them."""
    try:
        plain = yaml.safe_load(f"[{text}]") == [text]
    except yaml.YAMLError:
        plain = False
    return text if plain else json.dumps(text)


def prose(text: str) -> str:
    """A docstring as Markdown: what would be markup outside of `code` is escaped; paragraphs stay."""
    parts = CODE.split(text)
    return "".join(part if part.startswith("`") else re.sub(r"([*<>\\\[\]$])", r"\\\1", part) for part in parts)


def page(model: type[BaseModel], level: int, title: str = "", kind: str = "setting") -> str:
    """Markdown of all settings of a model.

    level: of the headings of its sections; title: of the outermost section; kind: the directive of a setting
    """
    blocks = []
    for section in sections(model):
        heading = f"`{section.key}`" if section.key else title
        if heading:
            blocks.append(f"{'#' * level} {heading}")
        blocks.append(prose(section.meaning))
        for setting in section.settings:
            default = "required" if setting.default is None else f"default `{setting.default}`"
            line = f"*{prose(setting.type)}* · {default}"
            blocks.append(f":::{{{kind}}} {setting.key}\n{line}\n\n{prose(setting.meaning)}\n:::")
    return "\n\n".join(blocks) + "\n"
