"""A program: the rules of equal requests of users for whom the same rules of the file hold, compiled for a version."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys.arrays import find, offsets_of, rank_within, rows_of, run_starts
from recsys.ids import mix
from recsys.rules.file import Rule
from recsys.rules.items import RuleItems
from recsys.rules.members import Members
from recsys.rules.request import RequestRules
from recsys.rules.table import CAP, MOVE, ONLY, WITHOUT, RuleTable
from recsys.schema import UNKNOWN


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of a request: the items that belong to it, or the others; text: for messages."""

    members: Members
    wanted: bool
    text: str


@dataclass(frozen=True, slots=True)
class Move:
    """A boost or burial of a request; log_factor: above 0 for a boost; text: for messages."""

    members: Members
    log_factor: float
    text: str


@dataclass(frozen=True, slots=True)
class GroupCap:
    """At most `at_most` items with the same code, where an item has the codes codes[offsets[i]:offsets[i + 1]]."""

    at_most: int
    offsets: np.ndarray
    codes: np.ndarray


@dataclass(frozen=True, slots=True)
class ItemOrder:
    """The items that a program allows, the most popular first.

    items: int32 (n,); kinds: int64 (n,), equal for items under the same caps; rank: int64 (n,), within the kind
    """

    items: np.ndarray
    kinds: np.ndarray
    rank: np.ndarray


@dataclass(frozen=True, eq=False)
class FileRules:
    """The rules of the file that hold for a user.

    rules: positions of the rules in the file, int64 (n,)
    blocked: float64 (n_groups,); an item is blocked if the sum over its groups and `n_only` is above 0
    moved: float64 (n_groups,), the logarithm of the factors
    """

    table: RuleTable
    rules: np.ndarray
    n_only: int
    blocked: np.ndarray
    moved: np.ndarray
    filters: bool
    moves: bool

    @classmethod
    def build(cls, table: RuleTable, active: np.ndarray) -> "FileRules":
        """The rules where `active`, bool (n_rules,)."""
        holding = active & table.usable
        only, without, move = (holding & (table.kinds == kind) for kind in (ONLY, WITHOUT, MOVE))
        return cls(
            table,
            holding.nonzero()[0],
            int(only.sum()),
            table.members @ (without.astype(np.float64) - only),
            table.members @ np.where(move, table.factors, 0.0),
            bool(only.any() or without.any()),
            bool(move.any()),
        )

    def blocks(self, items: np.ndarray) -> np.ndarray:
        """Whether a filter forbids each item, bool (n,)."""
        return self._sums(self.blocked, items) + self.n_only > 0

    def log_factors(self, items: np.ndarray) -> np.ndarray:
        """The logarithm of the factor of each item, float64 (n,)."""
        return self._sums(self.moved, items)

    def _sums(self, values: np.ndarray, items: np.ndarray) -> np.ndarray:
        total = np.zeros(len(items))
        for group in self.table.groups:
            total += values[group[items]]
        return total

    @cached_property
    def caps(self) -> np.ndarray:
        """The rules of kind CAP, ascending, int64 (n,); of those about the same items the smallest bound holds."""
        rules, table = self.of_kind(CAP), self.table
        targets = table.targets[rules]
        order = np.lexsort((table.bounds[rules], targets))
        return np.sort(rules[order][run_starts(targets[order])]) if len(rules) else rules

    def of_kind(self, kind: int) -> np.ndarray:
        """The rules of a kind, int64 (n,)."""
        return self.rules[self.table.kinds[self.rules] == kind]

    @property
    def others(self) -> list[Rule]:
        """The rules about a whole list, in the order of the file: pins, diversity, caps of every value."""
        kinds = self.table.kinds[self.rules]
        listed = self.rules[(kinds != ONLY) & (kinds != WITHOUT) & (kinds != MOVE) & (kinds != CAP)]
        return [self.table.file.rules[rule] for rule in listed.tolist()]


@dataclass(frozen=True, eq=False)
class Program:
    """Compiled rules; None and () where there are none.

    cap_targets: targets with their bound
    pins: item codes, int32 (n,), and their positions, from 1, int64 (n,); no item and no position twice
    pin_texts: for messages
    """

    known: RuleItems
    request: RequestRules
    filters: tuple[Filter, ...]
    moves: tuple[Move, ...]
    cap_targets: tuple[tuple[Members, int], ...]
    cap_groups: tuple[GroupCap, ...]
    pins: tuple[np.ndarray, np.ndarray]
    pin_texts: tuple[str, ...]
    diversity: float
    from_file: FileRules | None

    @cached_property
    def trivial(self) -> bool:
        """Whether nothing is to do beyond availability."""
        rules = self.from_file is not None and len(self.from_file.rules) > 0
        return not rules and self.request == RequestRules()

    @cached_property
    def capped(self) -> bool:
        """Whether a list has upper bounds."""
        from_file = self.from_file is not None and len(self.from_file.caps) > 0
        return bool(self.cap_targets or self.cap_groups or from_file)

    @cached_property
    def only_filters(self) -> bool:
        """Whether candidates depend on the filters alone: no cap and no pin."""
        return not self.capped and not len(self.pins[0])

    @property
    def arranges(self) -> bool:
        """Whether a list is more than the items in the order of their scores."""
        return self.capped or self.diversity > 0 or len(self.pins[0]) > 0

    def permits(self, items: np.ndarray) -> bool:
        """Whether a list of these items, the best in their order, can stay as it is."""
        if self.diversity > 0 or len(self.pins[0]):
            return False
        keys, bounds = self.limits(items)
        counts = np.bincount(keys.ravel(), minlength=len(bounds))
        return bool((counts[1:] <= bounds[1:]).all())

    @property
    def moving(self) -> bool:
        """Whether a boost or burial holds."""
        return bool(self.moves) or (self.from_file is not None and self.from_file.moves)

    def allows(self, items: np.ndarray) -> np.ndarray:
        """Whether the filters allow each item and it is available, bool (n,). The user's events play no part here."""
        if self.request.availability == "available":
            allowed = self.known.statistics.available[items]
        else:
            allowed = np.ones(len(items), bool)
        for one in self.filters:
            allowed = allowed & (one.members.test(items) == one.wanted)
        if self.from_file is not None and self.from_file.filters:
            allowed = allowed & ~self.from_file.blocks(items)
        return np.asarray(allowed, bool)

    def log_factors(self, items: np.ndarray) -> np.ndarray:
        """The logarithm of what the odds of each item are multiplied by, float64 (n,)."""
        total = np.zeros(len(items))
        for move in self.moves:
            total += move.log_factor * move.members.test(items)
        if self.from_file is not None and self.from_file.moves:
            total += self.from_file.log_factors(items)
        return total

    def limits(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The caps of each item: keys, int64 (n, n_caps), 0 where no cap holds, and the bound of each key, (n_keys,).

        Key 0 has no bound. Equal keys of one call stand for the same cap.
        """
        rows, keys, bounds = [], [], [np.array([np.inf])]
        start = 1
        for members, at_most in self.cap_targets:
            rows.append(members.test(items).nonzero()[0])
            keys.append(np.full(len(rows[-1]), start))
            bounds.append(np.array([float(at_most)]))
            start += 1
        for cap in self.cap_groups:
            index, lengths = rows_of(items, cap.offsets)
            distinct, code = np.unique(cap.codes[index], return_inverse=True)
            rows.append(np.arange(len(items)).repeat(lengths))
            keys.append(code + start)
            bounds.append(np.full(len(distinct), float(cap.at_most)))
            start += len(distinct)
        if self.from_file is not None and len(caps := self.from_file.caps):
            pair, rule = self.from_file.table.rules_of(items)
            place = find(caps, rule)
            rows.append(pair[place != UNKNOWN])
            keys.append(place[place != UNKNOWN] + start)
            bounds.append(self.from_file.table.bounds[caps])
        return _padded(rows, keys, len(items)), np.concatenate(bounds)

    def order(self) -> ItemOrder:
        """All allowed items by popularity. It takes milliseconds in a large shop, so the rule book keeps some."""
        popular = self.known.popular
        items = popular[self.allows(popular)]
        kinds = np.zeros(len(items), np.int64)
        if self.capped:
            keys, _ = self.limits(items)
            hashed = np.zeros(len(items), np.uint64)
            for column in keys.T.astype(np.uint64):
                hashed = mix(hashed + column)
            kinds = np.unique(hashed, return_inverse=True)[1]
        return ItemOrder(items, kinds, rank_within(kinds, np.zeros(len(items))))

    def note(self) -> str:
        """The reason why nothing is left: the filters that no item passes, or all of them."""
        everything = np.arange(len(self.known), dtype=np.int32)
        empty = [one.text for one in self.filters if one.wanted and not one.members.test(everything).any()]
        if self.from_file is not None:
            listed, table = self.from_file.table.file.rules, self.from_file.table
            only = self.from_file.of_kind(ONLY)
            empty += [f"of rule {listed[one].name!r}" for one in only[~table.matched[only]].tolist()]
        if empty:
            return f"no item of this version passes the filter {' and '.join(empty)}"
        if not self.allows(everything).any():
            return "no available item passes all filters together"
        return "no available item that passes the filters is left for this request"

    def names(self, items: np.ndarray, n: np.ndarray) -> list[tuple[str, ...]]:
        """The rules that moved or pinned each item: texts of the request's, then names of the file's in their order.

        A pin comes last. items: int32 (n,); n: int64 (n,), length of the list of each
        """
        names: list[list[str]] = [[] for _ in range(len(items))]
        for move in self.moves:
            for one in move.members.test(items).nonzero()[0].tolist():
                names[one].append(move.text)
        if self.from_file is not None:
            table = self.from_file.table
            listed = table.file.rules
            pair, rule = table.rules_of(items)
            moving = find(self.from_file.of_kind(MOVE), rule) != UNKNOWN
            for one, number in sorted(zip(pair[moving].tolist(), rule[moving].tolist(), strict=True)):
                names[one].append(listed[number].name)
        for code, position, text in zip(*self.pins, self.pin_texts, strict=True):
            for one in ((items == code) & (position <= n)).nonzero()[0].tolist():
                names[one].append(text)
        return [tuple(one) for one in names]


def _padded(rows: Sequence[np.ndarray], keys: Sequence[np.ndarray], n_items: int) -> np.ndarray:
    """The keys of each row side by side, padded with 0, int64 (n_items, n)."""
    row = np.concatenate([np.zeros(0, np.int64), *rows])
    key = np.concatenate([np.zeros(0, np.int64), *keys])
    order = row.argsort(kind="stable")
    lengths = np.bincount(row, minlength=n_items)
    padded = np.zeros((n_items, max(1, int(lengths.max(initial=0)))), np.int64)
    column = np.arange(len(row)) - offsets_of(lengths)[row[order]]
    padded[row[order], column] = key[order]
    return padded
