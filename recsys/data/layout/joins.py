"""Sources without a table of events: the question about it, or the join that a person has to make first."""

from collections.abc import Sequence
from itertools import permutations

from recsys.data.layout.by_type import Part
from recsys.data.layout.columns import ALIASES, customary, plain
from recsys.data.layout.unclear import GUIDE, Unclear, listed


def no_events(parts: Sequence[Part], passed_over: Sequence[str]) -> Unclear:
    """The unclear point where no table has a user, an item and a time. parts: all tables that can be read"""
    names = tuple(part.table.name for part in parts)
    tables = [f"{part.table.name}: {listed(part.names)}" for part in parts] + [*passed_over]
    problem = "no events: no table has a user, an item and a time, and tables are not joined; "
    problem += f"tables and their columns: {'; '.join(tables)}" if tables else "all tables are those of items"
    return Unclear("data.events.files", problem, names)


def needed_join(parts: Sequence[Part], needed: Sequence[str]) -> Unclear | None:
    """The join of two tables that have a user, an item and a time together; None if there are no such tables.

    needed: purposes of the columns that events must have
    """
    for first, second in permutations(parts, 2):
        lacking = [purpose for purpose in needed if not customary(first.names, purpose)]
        if len(lacking) == len(needed) or not all(customary(second.names, purpose) for purpose in lacking):
            continue
        keys = [name for name in first.names if name in second.names and _is_key(name)]
        if lacking and keys:
            names = f"{first.table.name} and {second.table.name}"
            lack = f"{first.table.name} has no {' and no '.join(lacking)}, {second.table.name} has"
            return Unclear("", f"{lack}; tables are not joined: join {names} by {keys[0]} first, {GUIDE}")
    return None


def _is_key(name: str) -> bool:
    """Whether a column that two tables have tells which rows belong together."""
    return plain(name) in ALIASES["order"] or (
        plain(name).endswith(("id", "no", "key", "number")) and plain(name) != "id"
    )
