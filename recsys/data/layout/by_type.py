"""A log in several tables, each with the events of one type, such as views.csv and orders.csv."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from recsys.data.layout.columns import customary, plain
from recsys.data.layout.settings import EventsConfig
from recsys.data.layout.types import IGNORED, MEANINGS, EventWords, words_of
from recsys.data.listing import Table
from recsys.schema import UNKNOWN
from recsys.storage.filesystem import File, FolderValue

TYPE: Final = "event"
"""The column with the type of an event, which such a log gets from the names of its tables."""
NEGATED: Final = re.compile(r"remov|abandon|delet|cancel|return|refund")
"""Parts of names of tables with events that do not count, such as cart_removals."""


@dataclass(frozen=True, slots=True)
class TypedLog:
    """Tables as one log.

    files: all of them have the same columns; those that one lacks are blank
    left_out: names of the tables whose events do not count
    """

    files: tuple[File, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A table that may be a part of a log, and the names of its columns."""

    table: Table
    names: Sequence[str]


def typed_log(parts: Sequence[Part], config: EventsConfig, needed: Sequence[str]) -> TypedLog | None:
    """The tables as one log, with the column TYPE; None if they are not a table for each type of event.

    parts: all must have the same columns for user, item and time, none may have one for the type, and the name of each
        must tell a type: by `data.events.types`, by itself, or by a word in it
    needed: purposes of the columns that all must have
    """
    stated = config.columns
    has_type = any(customary(part.names, "event") or stated.event in part.names for part in parts)
    if len(parts) < 2 or isinstance(config.types, str) or has_type:
        return None
    common = [name for name in parts[0].names if all(name in part.names for part in parts)]
    for purpose in needed:
        given = getattr(stated, purpose)
        if not (customary(common, purpose) if given is None else given in common):
            return None
    codes = words_of(config.types)
    words = [_word(part.table.name, codes) for part in parts]
    kept = [(part, word) for part, word in zip(parts, words, strict=True) if word and codes.code(word) != IGNORED]
    if None in words or not kept:
        return None
    every = list(dict.fromkeys(name for part, _ in kept for name in part.names))
    files = (
        replace(file, values=(*file.values, *_added(word, every, part.names)))
        for part, word in kept
        for file in part.table.files
    )
    names = {part.table.name for part, _ in kept}
    return TypedLog(tuple(files), tuple(part.table.name for part in parts if part.table.name not in names))


def _added(word: str, every: Sequence[str], names: Sequence[str]) -> list[FolderValue]:
    """The columns that a file with these names gets."""
    return [FolderValue(TYPE, word), *(FolderValue(name, "") for name in every if name not in names)]


def _word(name: str, codes: EventWords) -> str | None:
    """The word for the type of a table's events: its name if that has a meaning, else the only word in it that has.

    "" for events that do not count; None for a name without a meaning.
    """
    if codes.code(name) != UNKNOWN:
        return name
    parts = [part for part in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name) if plain(part) in MEANINGS]
    meanings = {MEANINGS[plain(part)] for part in parts}
    if parts and NEGATED.search(name.casefold()):
        return ""
    return parts[0] if len(meanings) == 1 else None
