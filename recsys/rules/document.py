"""A YAML document as plain values, with the line of each. What it may cost is bounded while it is read."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import yaml

from recsys.errors import CONTENT, RuleError

MOST_BYTES: Final = 8 << 20
"""Largest size of a document."""
MOST_NODES: Final = 400_000
"""Most values of a document: lists, maps, and their keys and scalars. 10,000 rules with 25 ids each fit, or 40
rules with 9,900 ids each."""
MOST_LEVELS: Final = 32
"""Lists and maps inside each other."""
LONGEST_COPY: Final = 1000
"""Characters of a scalar that aliases may use again."""
LONGEST_NUMBER: Final = 300
"""Characters of a number; a float holds each of that length. A longer one is a text."""
SHOWN: Final = 80
"""Characters of a key or tag in a message."""
LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C parser where there is one; it is ten times as fast."""

WORDS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
"""The scalars without quotes that are neither texts nor numbers."""
INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")
FLOAT: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]*([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?")
NOT_FINITE: Final = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

Path = tuple[str | int, ...]
"""The way to a value: keys and positions, as pydantic's errors have it."""


def scalar(text: str) -> int | float | str | bool | None:
    """The value of a scalar without quotes, as YAML 1.2 has it: null, true, false, a decimal number, or else a text.

    A number that is not written as Python writes it could be an id: `0123`, `+5`, `1e5`, `0x10`, `1_000` and `12:30`
    are texts, and so are dates.
    """
    if text in WORDS:
        return WORDS[text]
    if text[0] not in "0123456789-+." or len(text) > LONGEST_NUMBER:
        return text
    if INTEGER.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text) or NOT_FINITE.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def shown(word: str) -> str:
    """A key or tag in a message, on one line."""
    return word if word.isprintable() and len(word) <= SHOWN else f"{word[:SHOWN]!r}{'…' * (len(word) > SHOWN)}"


class Document:
    """A YAML document.

    tree: lists, dicts with text keys, and scalars as `scalar` has them; None for an empty document
    """

    def __init__(self, content: bytes, name: str) -> None:
        """name: the file's name, for messages

        Raises RuleError with the line of what is no YAML, of a key given twice, of a tag or an alias, and of a document
        beyond MOST_BYTES, MOST_NODES or MOST_LEVELS.
        """
        self._lines: dict[Path, int] = {(): 1}
        self._anchors: dict[str, Any] = {}  # the event of each
        self._name, self._nodes = name, 0
        if len(content) > MOST_BYTES:
            raise RuleError(f"{name}: {len(content):,} bytes; expected at most {MOST_BYTES:,}")
        try:
            self.tree = self._read(yaml.parse(content.decode(), Loader=LOADER))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f", line {mark.line + 1}" if mark else ""
            raise RuleError(f"{name}{line}: not YAML: {error.problem or error.context}") from error
        except RuleError:
            raise
        except (yaml.YAMLError, *CONTENT) as error:
            raise RuleError(f"{name}: not YAML: {' '.join(str(error).split())}") from error

    def line(self, path: Sequence[str | int]) -> int:
        """The line of the value at a path, or of what is nearest above it."""
        rest = tuple(path)
        while rest not in self._lines:
            rest = rest[:-1]
        return self._lines[rest]

    def _fault(self, event: Any, text: str) -> RuleError:
        return RuleError(f"{self._name}, line {_line(event)}: {text}")

    def _read(self, events: Iterator[Any]) -> Any:
        tree, documents = None, 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._fault(event, "not YAML of a rules file: another document begins, expected one")
                tree = self._value(next(events), events, ())
        return tree

    def _value(self, event: Any, events: Iterator[Any], path: Path) -> Any:
        """The value that begins with an event; the events after it up to its end are taken."""
        event = self._counted(event)
        self._lines.setdefault(path, _line(event))
        if isinstance(event, yaml.ScalarEvent):
            return scalar(event.value) if event.implicit[0] else event.value
        if len(path) >= MOST_LEVELS:
            raise self._fault(event, f"nested too deeply, expected at most {MOST_LEVELS} levels")
        if isinstance(event, yaml.SequenceStartEvent):
            values: list[Any] = []
            while not isinstance(child := next(events), yaml.SequenceEndEvent):
                values.append(self._value(child, events, (*path, len(values))))
            return values
        return self._map(events, path)

    def _map(self, events: Iterator[Any], path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(child := next(events), yaml.MappingEndEvent):
            event = self._counted(child)
            if not isinstance(event, yaml.ScalarEvent):
                raise self._fault(event, "expected a word as a key")
            key = event.value
            if key in values:
                raise self._fault(event, f"the key {shown(key)} is given twice")
            self._lines[(*path, key)] = _line(event)
            values[key] = self._value(next(events), events, (*path, key))
        return values

    def _counted(self, event: Any) -> Any:
        """The event, or for an alias the one that it stands for; counted. Raises RuleError if it is not allowed."""
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise self._fault(event, f"more than {MOST_NODES:,} values; a file has at most so many")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._fault(event, f"not YAML: found undefined alias {shown(str(event.anchor))}")
            event = self._anchors[event.anchor]
            if not isinstance(event, yaml.ScalarEvent) or len(event.value) > LONGEST_COPY:
                raise self._fault(event, "an alias uses this part again; write it out")
            return event
        if event.tag is not None:
            raise self._fault(event, f"expected a value without a tag, found the tag {shown(event.tag)}")
        if event.anchor is not None:
            self._anchors[event.anchor] = event
        return event


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
