"""The rules of all lists that a batch command writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys import console
from recsys.errors import DataError, RuleError
from recsys.rules.batch import BatchRules
from recsys.rules.book import RuleBook
from recsys.rules.document import MOST_BYTES
from recsys.rules.file import RulesFile
from recsys.rules.parse import parse_request, parse_rules
from recsys.rules.request import RequestRules
from recsys.storage.files import read_regular

SHOWN: Final = 20
"""Rules with unknown ids or words that are printed."""


@dataclass(frozen=True, slots=True)
class ListRules:
    """The rules of all lists of a batch.

    request: as of one request; file: a rules file, as of `now` (ms); address: of this file, for messages
    """

    request: RequestRules | None
    file: RulesFile | None
    now: int
    address: str = "the rules file"

    @classmethod
    def read(cls, request: Path | None, file: Path | None, now: int) -> "ListRules | None":
        """The rules of two files, each None for none; raises RuleError that names the line, or DataError."""
        if request is None and file is None:
            return None
        texts = [None if path is None else _text_of(path) for path in (request, file)]
        return cls(
            None if texts[0] is None else parse_request(texts[0], str(request)),
            None if texts[1] is None else parse_rules(texts[1], str(file)),
            now,
            str(file),
        )

    def check(self, book: RuleBook) -> None:
        """Raises RuleError for a rule that the version of the book cannot apply; prints what the version lacks."""
        if self.request is not None:
            book.check(self.request)
        if self.file is None:
            return
        table = book.prepare(self.file)
        if table.problems:
            raise RuleError("; ".join(f"{self.address}, {problem}" for problem in table.problems))
        for text in table.unknown[:SHOWN]:
            console.progress(f"{self.address}, {text}; it is passed over")

    def of_users(self, users: Sequence[int | str | None], n: int) -> BatchRules | None:
        """The rules of lists of `n` items for some users; None for a request without a user."""
        return BatchRules.build([self.request] * len(users), [n] * len(users), users, self.file, self.now)


def _text_of(path: Path) -> bytes:
    try:
        return read_regular(path, MOST_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
