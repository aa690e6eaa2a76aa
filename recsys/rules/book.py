"""The rule book of a version: programs, compiled once and kept."""

from functools import lru_cache
from typing import Final

import numpy as np

from recsys.errors import RuleError
from recsys.histories import Histories
from recsys.rules.batch import BatchRules
from recsys.rules.compile import compile_program
from recsys.rules.file import RulesFile
from recsys.rules.items import RuleItems
from recsys.rules.program import FileRules, Program
from recsys.rules.programs import Programs
from recsys.rules.request import RequestRules
from recsys.rules.table import RuleTable, compile_rules

KEPT_PROGRAMS: Final = 256
KEPT_ORDERS: Final = 16
"""Orders of all items that are kept, each with 20 bytes an item."""
KEPT_FILES: Final = 3


class UnknownRules(RuleError):
    """A batch names a rules file that this process has not got yet."""


class RuleBook:
    """Compiles rules for the items of a version. Threads may share it."""

    def __init__(self, known: RuleItems) -> None:
        self.known = known
        self._tables: dict[str, RuleTable] = {}
        self._program = lru_cache(KEPT_PROGRAMS)(self._compile)
        self._order = lru_cache(KEPT_ORDERS)(Program.order)

    def prepare(self, file: RulesFile) -> RuleTable:
        """The table of a rules file; it is compiled once, so that no request has to wait for it."""
        table = self._tables.get(file.digest)
        if table is None:
            table = compile_rules(file, self.known)
            self._tables = dict([*self._tables.items(), (file.digest, table)][-KEPT_FILES:])
        return table

    def prepared(self, digest: str) -> RuleTable | None:
        """The table of the rules file with this digest; None where `prepare` has not seen it."""
        return self._tables.get(digest)

    def check(self, request: RequestRules) -> None:
        """Raises RuleError for a filter or rule that this version cannot apply."""
        self._program(request, "", b"")

    def programs(self, rules: BatchRules, histories: Histories) -> Programs:
        """The programs of a batch; histories: the events of its users, in the same order.

        Raises UnknownRules where `rules` comes without its file and `prepare` has not seen it, RuleError as `check`.
        """
        if rules.digest and rules.digest not in self._tables:
            if rules.file is None:
                raise UnknownRules(f"the rules file {rules.digest} is not loaded")
            self.prepare(rules.file)
        packed = np.packbits(rules.active, axis=1)
        keys = zip(rules.which.tolist(), map(bytes, packed), strict=True)
        distinct: dict[tuple[int, bytes], int] = {}
        which = np.array([distinct.setdefault(key, len(distinct)) for key in keys], np.int64)
        programs = [self._program(rules.requests[request], rules.digest, active) for request, active in distinct]
        return Programs(self.known, programs, which, rules.n, histories, self._order)

    def _compile(self, request: RequestRules, digest: str, packed: bytes) -> Program:
        if not digest:
            return compile_program(self.known, request, None)
        table = self._tables.get(digest)
        if table is None:  # other files came meanwhile
            raise UnknownRules(f"the rules file {digest} is not loaded any more")
        active = np.unpackbits(np.frombuffer(packed, np.uint8), count=len(table.file.rules)).astype(bool)
        return compile_program(self.known, request, FileRules.build(table, active))
