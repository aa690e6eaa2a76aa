"""Flat documents: what a checkout wrote, as values by dotted path, once the table of renames has been applied."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from identity_parts import renames
from recsys.errors import RecsysError

Leaves = dict[str, str]
"""Values as JSON texts, by dotted path: equal texts are equal types and equal bits."""


@dataclass(frozen=True, slots=True)
class Table:
    """Renames of one side, see `renames`.

    left_out: paths that are not compared; unordered: paths of lists that are compared without their order
    """

    files: Mapping[str, str]
    words: Mapping[str, Mapping[str, str]]
    moved: Mapping[str, str]
    left_out: Collection[str]
    unordered: Collection[str]

    def of_json(self, document: str, text: str) -> Leaves:
        """Values of a JSON text. Raises RecsysError where renames give two of them the same path."""
        return self._placed(document, json.loads(self._reworded(document, text), object_pairs_hook=_without_twins))

    def of_lines(self, document: str, lines: Sequence[str]) -> Leaves:
        """Lines by their place, from 0."""
        return self._placed(document, [self._reworded(document, line) for line in lines])

    def of_files(self, digests: Mapping[str, str]) -> Leaves:
        """Digests by the name of the file."""
        return self._placed("files", {self.files.get(name, name): digest for name, digest in digests.items()})

    def setting(self, text: str) -> str:
        """A setting `section.key=value` of a training run in NEW's names."""
        key, equals, value = text.partition("=")
        sections = (self._reworded("config", f'"{name}":')[1:-2] for name in key.split("."))
        return self._moved(f"config.{'.'.join(sections)}").removeprefix("config.") + equals + value

    def _reworded(self, document: str, text: str) -> str:
        words = {
            old: new
            for scope, mapping in self.words.items()
            if _pattern([scope]).fullmatch(document)
            for old, new in mapping.items()
        }
        if not words:
            return text
        longest_first = sorted(words, key=len, reverse=True)
        return re.sub("|".join(map(_whole, longest_first)), lambda found: words[found[0]], text)

    def _moved(self, path: str) -> str:
        for old, new in self.moved.items():
            if found := re.match(rf"{_escaped(old)}(?=\.|$)", path, re.DOTALL):
                moved = new
                for part in found.groups():
                    moved = moved.replace("*", part, 1)
                return moved + path[found.end() :]
        return path

    def _placed(self, document: str, content: Any) -> Leaves:
        """Raises RecsysError where two values come to lie at the same path."""
        placed = Leaves()
        for path, value in self._leaves(document, content, _pattern(self.left_out), _pattern(self.unordered)):
            moved = self._moved(path)
            if moved in placed:
                raise RecsysError(f"the table of renames gives two values the path {moved}")
            placed[moved] = value
        return placed

    def _leaves(
        self, path: str, value: Any, left_out: re.Pattern[str], unordered: re.Pattern[str]
    ) -> Iterator[tuple[str, str]]:
        """Each value below `path`; what is empty counts as a value. Where an entry of a list is left out, the next one
        takes its place."""

        def kept(key: Any) -> bool:
            return not left_out.fullmatch(self._moved(f"{path}.{key}"))

        inner: Mapping[Any, Any] = {}
        if isinstance(value, dict):
            inner = {key: below for key, below in value.items() if kept(key)}
        elif isinstance(value, list):
            entries = [below for place, below in enumerate(value) if kept(place)]
            inner = dict(enumerate(sorted(entries, key=_text) if unordered.fullmatch(path) else entries))
        for key, below in inner.items():
            yield from self._leaves(f"{path}.{key}", below, left_out, unordered)
        if not isinstance(value, dict | list) or not value:
            yield path, _text(value)


OF_OLD: Final = Table(
    renames.FILES, renames.WORDS, renames.MOVED, {*renames.DROPPED, *renames.VARYING}, renames.UNORDERED
)
OF_NEW: Final = Table({}, {}, {}, {*renames.ADDED, *renames.VARYING}, renames.UNORDERED)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; raises RecsysError where it has a key twice, which would hide one of the values."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RecsysError(f"the table of renames gives two values the key {twice!r}")
    return content


def _pattern(paths: Collection[str]) -> re.Pattern[str]:
    """What any of the paths matches; nothing where there are none."""
    return re.compile("|".join(map(_escaped, paths)) or r"(?!)", re.DOTALL)


def _escaped(path: str) -> str:
    return re.escape(path).replace(r"\*", "(.*)")


def _whole(word: str) -> str:
    """The pattern of a word that is no part of a longer one."""
    before = r"(?<!\w)" if re.match(r"\w", word) else ""
    after = r"(?!\w)" if re.search(r"\w$", word) else ""
    return f"{before}{re.escape(word)}{after}"
