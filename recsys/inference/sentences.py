"""Sentences of explanations, from templates: a file for each language, and the templates of a shop's own file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import yaml
from pydantic import Field, ValidationError, field_validator

from recsys.errors import ConfigError, first_line
from recsys.inference.explanations import Explanations
from recsys.registry.bundle import Bundle
from recsys.schema import EVENT_TYPES, UNKNOWN, Config

FOLDER: Final = Path(__file__).with_name("languages")
"""The files of the languages that come with the package."""
DEFAULT: Final = "en"
"""The language of a request that asks for none of those there are."""
OTHER: Final = "other"
"""The key of the templates for every source that has none of its own."""
PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
LANGUAGE: Final = re.compile("[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
"""A tag of a language, such as `de` or `pt-BR`."""


def _checked(template: str, *placeholders: str) -> str:
    """The template; raises ValueError if it has another placeholder, or is blank."""
    named = PLACEHOLDER.findall(template)
    if not template.strip() or "{" in PLACEHOLDER.sub("", template) or "}" in PLACEHOLDER.sub("", template):
        raise ValueError(f"template {template!r}: expected a sentence with whole placeholders in it")
    if unknown := sorted(set(named) - set(placeholders)):
        expected = " and ".join(f"{{{name}}}" for name in placeholders) or "no placeholder"
        raise ValueError(f"template {template!r} has {{{unknown[0]}}}; expected {expected}")
    return template


class ByEvent(Config):
    """Templates by the strongest type of the user's events on the item; `{item}` stands for the item."""

    view: str
    addtocart: str
    transaction: str

    @field_validator("*")
    @classmethod
    def _sentence(cls, template: str) -> str:
        return _checked(template, "item")


class Templates(Config):
    """The templates of a language."""

    following: dict[str, ByEvent]
    """By source, for recommendations that follow from an item of the history; `other` for all other sources."""
    alone: dict[str, str]
    """By source, for recommendations that follow from no item of the history; `other` for all other sources."""
    position: str = Field(min_length=1)
    """For users without events; `{position}` stands for the position in the lists of popular items."""

    @field_validator("following", "alone")
    @classmethod
    def _has_other(cls, templates: dict[str, Any]) -> dict[str, Any]:
        if OTHER not in templates:
            raise ValueError(f"expected templates for {OTHER!r} among them")
        return templates

    @field_validator("alone")
    @classmethod
    def _sentences(cls, templates: dict[str, str]) -> dict[str, str]:
        return {source: _checked(template) for source, template in templates.items()}

    @field_validator("position")
    @classmethod
    def _sentence(cls, template: str) -> str:
        return _checked(template, "position")

    def sentence(self, source: str, event: int, item: str, position: int) -> str:
        """A sentence for a customer.

        source: the source that explains the recommendation
        event, position: see Explanations; item: the title or id of the item of the history, unused without such an item
        """
        if position != UNKNOWN:
            return _filled(self.position, position=str(position))
        if event == UNKNOWN:
            return self.alone.get(source, self.alone[OTHER])
        by_event = self.following.get(source, self.following[OTHER])
        return _filled(getattr(by_event, EVENT_TYPES[event]), item=item)


def _filled(template: str, **values: str) -> str:
    """The template with its placeholders filled in one pass, so that braces in a title stay as they are."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)


@dataclass(frozen=True, slots=True)
class Sentences:
    """The templates of all languages, by the tag of the language."""

    templates: Mapping[str, Templates]
    default: str = DEFAULT

    @property
    def languages(self) -> tuple[str, ...]:
        """The tags of the languages, in alphabetical order."""
        return tuple(sorted(self.templates))

    def accepted(self, header: str) -> str:
        """The language that a header Accept-Language prefers among those there are (RFC 9110), else the default.

        A single tag is such a header too. A region falls back to its language: `de-AT` to `de`.
        """
        wanted = []
        for position, part in enumerate(header.split(",")):
            tag, _, quality = part.strip().partition(";")
            weight = re.fullmatch(r"\s*q=(0(\.\d{0,3})?|1(\.0{0,3})?)\s*", quality)
            if quality and weight is None:
                continue
            wanted.append((-float(weight[1]) if weight else -1.0, position, tag.strip().lower()))
        known = {tag.lower(): tag for tag in self.templates}
        for negative, _, tag in sorted(wanted):
            match = known.get(tag) or known.get(tag.partition("-")[0])
            if negative and match:
                return match
        return self.default


def load_sentences(own: Path | None = None, default: str = DEFAULT) -> Sentences:
    """The sentences of the package, changed and extended by a shop's own file.

    own: a YAML file with templates by language, as in the files of the package; a known language needs only those that
        differ, a new one needs all
    Raises ConfigError that names the file and the entry, also if `default` is none of the languages.
    """
    trees = dict(_built_in())
    given = {} if own is None else _read(own)
    for language, tree in given.items():
        if not LANGUAGE.fullmatch(language):
            raise ConfigError(f"{own}: {language!r} is not the tag of a language, such as de or pt-BR")
        trees[language] = _merged(trees.get(language, {}), tree)
    templates = {
        language: _parsed(tree, own if language in given else FOLDER, language) for language, tree in trees.items()
    }
    if default not in templates:
        raise ConfigError(f"language {default!r} has no templates; expected one of: {', '.join(sorted(templates))}")
    return Sentences(templates, default)


@cache
def _built_in() -> Mapping[str, Mapping[str, Any]]:
    """The templates that come with the package, by language."""
    return {path.stem: _read(path) for path in sorted(FOLDER.glob("*.yaml"))}


def _read(path: Path) -> dict[str, Any]:
    try:
        # All values are texts with this loader: another one takes the language `no` for false.
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"templates {path}: {first_line(error)}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"templates {path}: expected templates by name, got {type(tree).__name__}")
    return tree


def _merged(base: Any, changes: Any) -> Any:
    """`base` with the entries of `changes`, in sections section by section."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    return base | {name: _merged(base.get(name), value) for name, value in changes.items()}


def _parsed(tree: Any, path: Path | None, language: str) -> Templates:
    try:
        return Templates.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (language, *first["loc"])))
        raise ConfigError(f"templates {path}: {where}: {first['msg']}") from error


def item_names(bundle: Bundle, items: Sequence[int]) -> list[str]:
    """The titles of items, or their ids where they have none; items: codes, UNKNOWN becomes an empty text."""
    titles = bundle.texts.get("title")
    known = [item for item in items if item != UNKNOWN]
    listed = [None] * len(known) if titles is None else titles.take(pa.array(known, pa.int64())).to_pylist()
    names = {code: title or str(bundle.items[code]) for code, title in zip(known, listed, strict=True)}
    return [names.get(item, "") for item in items]


def sentences_of(explanations: Explanations, rows: slice, bundle: Bundle, templates: Templates) -> list[str]:
    """The sentence of each of some rows of explanations."""
    by_session = () if bundle.sessions is None else bundle.sessions.source_names
    sources = (*bundle.manifest.sources, *by_session, OTHER)  # UNKNOWN is -1, so it reads the last entry
    columns = (explanations.sources, explanations.events, explanations.positions)
    names = item_names(bundle, explanations.origins[rows].tolist())
    return [
        templates.sentence(sources[source], event, name, position)
        for source, event, position, name in zip(*(column[rows].tolist() for column in columns), names, strict=True)
    ]
