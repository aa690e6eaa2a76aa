"""The text of a rules file to its rules: YAML, checked with the line of each fault."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from recsys.errors import RuleError
from recsys.rules.document import Document, shown
from recsys.rules.file import Rule, RulesFile
from recsys.rules.request import RequestRules

MOST_RULES: Final = 10_000
NONE: Final = "`rules: []` for none"
"""How a file says that there are no rules."""
MOST_FAULTS: Final = 10
"""Faults that a message lists; it gives the number of the others."""
ENOUGH_FAULTS: Final = 1000
"""Faults after which no further rule is looked at."""


def parse_rules(text: str | bytes, name: str = "rules") -> RulesFile:
    """The rules of a file: a list under the key `rules`, which is `[]` for none.

    An empty file is refused: a program that writes the file may leave it empty for a moment, and the rules must hold
    then.

    name: the file's name, for messages
    Raises RuleError with the line of each fault.
    """
    content = text.encode() if isinstance(text, str) else text
    document = Document(content, name)
    tree = document.tree
    digest = hashlib.sha256(content).hexdigest()[:16]
    if not isinstance(tree, Mapping) or set(tree) != {"rules"}:
        raise RuleError(f"{name}, line 1: expected one key, rules, with a list of rules; {NONE}")
    entries = tree["rules"]
    if not isinstance(entries, list):
        raise RuleError(f"{name}, line {document.line(('rules',))}: rules: expected a list; {NONE}")
    if len(entries) > MOST_RULES:
        raise RuleError(f"{name}: {len(entries):,} rules; expected at most {MOST_RULES:,}")
    rules, lines, faults = [], [], _Faults(name)
    first: dict[str, int] = {}
    for number, entry in enumerate(entries):
        line = document.line(("rules", number))
        try:
            rule = Rule.model_validate(entry)
        except ValidationError as error:
            for problem in _problems(error):
                where = document.line(("rules", number, *problem["loc"]))
                faults.add(where, f"{_label(number, entry)}{_path(problem['loc'])}{_text(problem)}")
        else:
            if rule.name in first:
                faults.add(line, f"the name {rule.name!r} is taken by the rule of line {first[rule.name]}")
            first.setdefault(rule.name, line)
            rules.append(rule)
            lines.append(line)
        if len(faults.texts) >= ENOUGH_FAULTS:
            break
    faults.check()
    return RulesFile(tuple(rules), tuple(lines), digest)


def parse_request(text: bytes, name: str) -> RequestRules:
    """The filters and rules of a request from a file, as in the body of a request but in YAML.

    Raises RuleError with the line of each fault.
    """
    document = Document(text, name)
    tree = document.tree
    try:
        return RequestRules.model_validate({} if tree is None else tree)
    except ValidationError as error:
        faults = _Faults(name)
        for problem in _problems(error):
            faults.add(document.line(problem["loc"]), f"{_path(problem['loc'])}{_text(problem)}")
        faults.check()
        raise


def _problems(error: ValidationError) -> list[Any]:
    """The faults that pydantic found, without those that follow from others: a list that lacks its wrong entries."""
    problems = error.errors(include_url=False)
    outer = {problem["loc"][:length] for problem in problems for length in range(len(problem["loc"]))}
    return [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in outer]


def _label(number: int, entry: Any) -> str:
    """The name of a rule in a message."""
    name = entry.get("name") if isinstance(entry, Mapping) else None
    return f"rule {name[:100]!r}: " if isinstance(name, str) and name else f"rule {number + 1}: "


def _path(loc: Sequence[str | int]) -> str:
    """The path inside a rule, without the names that pydantic gives to the members of a union."""
    parts = [str(part) for part in loc if isinstance(part, int) or (part.islower() and part not in ("int", "str"))]
    return f"{'.'.join(map(shown, parts))}: " if parts else ""


def _text(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "there is no such key"
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = problem["input"]
    if problem["type"] in ("missing", "value_error") or isinstance(given, list | tuple | Mapping):
        return message
    return f"{message}, found {given!r:.80}"


@dataclass
class _Faults:
    """The faults of a file so far."""

    name: str
    texts: list[str] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        """Add a fault."""
        self.texts.append(f"line {line}: {text}")

    def check(self) -> None:
        """Raise RuleError if there is a fault."""
        if self.texts:
            more = len(self.texts) - MOST_FAULTS
            listed = "; ".join(dict.fromkeys(self.texts[:MOST_FAULTS]))
            raise RuleError(f"{self.name}, {listed}{f'; and {more:,} more' if more > 0 else ''}")
