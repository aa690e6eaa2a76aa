"""A rules file compiled for a version: the rules of each group of items.

Items with the same rules form a group, for each kind of target: given items, categories, each attribute. So a table has
about as many groups as rules, however many items there are, and a request with a thousand rules reads a few numbers for
each item.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recsys.arrays import offsets_of, rows_of
from recsys.errors import RuleError
from recsys.ids import mix
from recsys.rules.file import Rule, RulesFile
from recsys.rules.items import RuleItems
from recsys.rules.members import Between, GivenItems, InCategories, WithLabels, compile_target
from recsys.rules.request import MOST_CAPS, Target

ONLY, WITHOUT, MOVE, CAP, OTHER = range(5)
"""The effect of a rule on its items. OTHER: pins, diversity and caps of every value."""
Compiled = GivenItems | InCategories | WithLabels | Between


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rules and the bases they hold for, where a base is a category, a given item, an interval of numbers, …

    base_of_item: int (n_items,); bases, rules: int64 (n,), pairs
    """

    base_of_item: np.ndarray
    bases: np.ndarray
    rules: np.ndarray


@dataclass(frozen=True)
class RuleTable:
    """The rules of a file for one version.

    kinds: int8 (n_rules,); factors: float64 (n_rules,), the logarithm of the factor of MOVE
    bounds: float64 (n_rules,), the bound of CAP; targets: int64 (n_rules,), equal for rules of CAP about the same items
    usable: bool (n_rules,), whether the version can apply the rule
    groups: for each kind of target int32 (n_items,), the group of each item, counted over all kinds
    members: float64 sparse (n_groups, n_rules), 1 where the rule is about the items of the group
    matched: bool (n_rules,), whether an item belongs to the rule's target
    problems: texts about rules that this version cannot apply; they do not hold
    unknown: texts about ids and words of rules that this version does not have; the rules hold without them
    """

    file: RulesFile
    kinds: np.ndarray
    factors: np.ndarray
    bounds: np.ndarray
    targets: np.ndarray
    usable: np.ndarray
    groups: tuple[np.ndarray, ...]
    members: sparse.csr_array
    matched: np.ndarray
    problems: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def rules_of(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rules about each item: positions in `items` and rules, int64 (n,) each, no pair twice."""
        index, lengths, rows = [np.zeros(0, np.int64)], [], np.arange(len(items))
        for group in self.groups:
            own, n_own = rows_of(group[items], self.members.indptr)
            index.append(own)
            lengths.append(rows.repeat(n_own))
        return np.concatenate([np.zeros(0, np.int64), *lengths]), self.members.indices[np.concatenate(index)]


def compile_rules(file: RulesFile, known: RuleItems) -> RuleTable:
    """The table of a file for a version. Rules that the version cannot apply are left out and named in `problems`."""
    compiled, problems, unknown = _compiled(file, known)
    members = {number: one for number, one in compiled.items() if one is not None}
    groups, rows, columns, start = [], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for pairs in _kinds_of_targets(members, known):
        group, members_of, rules, n_groups = _merged(pairs)
        groups.append((group + start).astype(np.int32))
        rows.append(members_of + start)
        columns.append(rules)
        start += n_groups
    cells = np.concatenate(rows), np.concatenate(columns)
    table = sparse.csr_array((np.ones(len(cells[0])), cells), shape=(start, len(file.rules)))
    matched = np.zeros(len(file.rules), bool)
    for group in groups:
        matched[table[np.unique(group)].indices] = True
    kinds = np.array([_kind(rule) for rule in file.rules], np.int8)
    distinct: dict[Target | None, int] = {}
    targets = np.array([distinct.setdefault(rule.where, len(distinct)) for rule in file.rules], np.int64)
    usable = np.array([number in compiled for number in range(len(file.rules))], bool)
    for rule in _beyond_most_caps(kinds, targets, groups, table):
        usable[rule] = False
        problems.append(
            f"line {file.lines[rule]}: rule {file.rules[rule].name!r}: an item falls under more than {MOST_CAPS} caps"
        )
    return RuleTable(
        file,
        kinds,
        np.array([np.log(rule.boost or 1) - np.log(rule.bury or 1) for rule in file.rules]),
        np.array([float(rule.cap or 0) for rule in file.rules]),
        targets,
        usable,
        tuple(groups),
        table,
        matched,
        tuple(problems),
        tuple(unknown),
    )


def _compiled(file: RulesFile, known: RuleItems) -> tuple[dict[int, Compiled | None], list[str], list[str]]:
    """The members of each rule that the version can apply, None for rules without; `problems` and `unknown`."""
    compiled: dict[int, Compiled | None] = {}
    problems, unknown = [], []
    for number, rule in enumerate(file.rules):
        place = f"line {file.lines[number]}: rule {rule.name!r}"
        try:
            if rule.per is not None:
                known.grouping(rule.per)
            members = None if rule.where is None else compile_target(rule.where, known)
            if rule.where is not None and (absent := known.absent(rule.where)):
                unknown.append(f"{place}: this version has no {absent}")
        except RuleError as error:
            problems.append(f"{place}: {error}")
            continue
        compiled[number] = None if rule.pin is not None else members
    return compiled, problems, unknown


def _kind(rule: Rule) -> int:
    if rule.filter is not None:
        return ONLY if rule.filter == "only" else WITHOUT
    if rule.boost is not None or rule.bury is not None:
        return MOVE
    return CAP if rule.where is not None and rule.cap is not None else OTHER


def _beyond_most_caps(
    kinds: np.ndarray, targets: np.ndarray, groups: Sequence[np.ndarray], table: sparse.csr_array
) -> list[int]:
    """The rules of CAP without which no item falls under more than MOST_CAPS of them, the first ones of a file stay."""
    caps = (kinds == CAP).nonzero()[0]
    _, first = np.unique(targets[caps], return_index=True)
    kept = np.zeros(table.shape[1], bool)
    kept[caps[first]] = True
    dropped: list[int] = []
    while groups and kept.any():
        in_group = table @ kept.astype(np.float64)
        per_item = sum(in_group[group] for group in groups)
        worst = int(np.argmax(per_item))
        if per_item[worst] <= MOST_CAPS:
            break
        own = np.concatenate([table[[group[worst]]].indices for group in groups])
        beyond = np.sort(own[kept[own]])[MOST_CAPS:]
        kept[beyond] = False
        dropped += caps[np.isin(targets[caps], targets[beyond])].tolist()
    return sorted(dropped)


def _kinds_of_targets(compiled: dict[int, Compiled], known: RuleItems) -> list[Pairs]:
    """The pairs of each kind of target that the rules have."""
    by_kind: dict[object, dict[int, Compiled]] = {}
    for rule, members in compiled.items():
        kind: object = type(members)
        if isinstance(members, Between):
            kind = ("number", members.name)
        elif isinstance(members, WithLabels):
            kind = ("labels", members.attribute)
        by_kind.setdefault(kind, {})[rule] = members
    return [_pairs(rules, len(known)) for rules in by_kind.values()]


def _pairs(rules: dict[int, Compiled], n_items: int) -> Pairs:
    """The pairs of rules with the same kind of target."""
    numbers, all_members = np.array(list(rules)), list(rules.values())
    first = all_members[0]
    if isinstance(first, InCategories):
        inside = [members.inside for members in all_members if isinstance(members, InCategories)]
        return Pairs(first.category % len(first.inside), *_listed([one.nonzero()[0] for one in inside], numbers))
    if isinstance(first, WithLabels):
        return _label_pairs([members for members in all_members if isinstance(members, WithLabels)], numbers, n_items)
    if isinstance(first, Between):
        return _number_pairs([members for members in all_members if isinstance(members, Between)], numbers)
    codes = [members.codes for members in all_members if isinstance(members, GivenItems)]
    named = np.unique(np.concatenate(codes))
    base = np.zeros(n_items, np.int64)
    base[named] = 1 + np.arange(len(named))
    return Pairs(base, *_listed([base[one] for one in codes], numbers))


def _listed(bases: Sequence[np.ndarray], rules: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(bases).astype(np.int64), rules.repeat([len(one) for one in bases])


def _number_pairs(rules: Sequence[Between], numbers: np.ndarray) -> Pairs:
    """The bases are the bounds and the intervals between them; items without a number have base 0."""
    edges = np.unique(np.array([[one.low, one.high] for one in rules], np.float32))
    column = rules[0].column
    above = np.searchsorted(edges, column, side="left")
    on_edge = edges[np.minimum(above, len(edges) - 1)] == column
    base = np.where(np.isnan(column), 0, 1 + 2 * above + on_edge)
    lows, highs = (np.searchsorted(edges, [getattr(one, name) for one in rules]) for name in ("low", "high"))
    # The bound edges[i] has the base 2 + 2i, the interval above it 3 + 2i.
    spans = [np.arange(2 + 2 * low, 3 + 2 * high) for low, high in zip(lows, highs, strict=True)]
    return Pairs(base, *_listed(spans, numbers))


def _label_pairs(rules: Sequence[WithLabels], numbers: np.ndarray, n_items: int) -> Pairs:
    """The bases are the sets of labels, of those that rules name; an item may have several."""
    attributes = rules[0].attributes
    named = np.any([one.wanted for one in rules], axis=0)
    owner = np.arange(n_items).repeat(np.diff(attributes.offsets))
    own = named[attributes.values]
    owner, labels = owner[own], attributes.values[own]
    hashed = np.zeros(n_items, np.uint64)
    np.add.at(hashed, owner, mix(labels.astype(np.uint64) + np.uint64(1)))
    _, first, base = np.unique(hashed, return_index=True, return_inverse=True)
    index, lengths = rows_of(first, offsets_of(np.bincount(owner, minlength=n_items)))
    sets = np.arange(len(first)).repeat(lengths)
    return Pairs(base, *_listed([np.unique(sets[one.wanted[labels[index]]]) for one in rules], numbers))


def _merged(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """The group of each item, the pairs (group, rule), and the number of groups: bases with the same rules are one."""
    n_bases = int(pairs.base_of_item.max(initial=0)) + 1
    inside = pairs.bases < n_bases
    bases, rules = pairs.bases[inside], pairs.rules[inside]
    hashed = np.zeros(n_bases, np.uint64)
    np.add.at(hashed, bases, mix(rules.astype(np.uint64) + np.uint64(1)))
    _, first, group = np.unique(hashed, return_index=True, return_inverse=True)
    kept = first[group[bases]] == bases
    return group[pairs.base_of_item], group[bases[kept]], rules[kept], len(first)
