"""Columns of the log of events that are facts about the item, such as its brand, where there is no table of items."""

from collections.abc import Sequence
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.layout.attributes import declared, detected
from recsys.data.layout.columns import customary
from recsys.data.layout.model import EventTable, PropertyTable
from recsys.data.layout.rules import PropertyRules, WideNames
from recsys.data.layout.settings import ItemsConfig
from recsys.data.layout.tables import TableHead
from recsys.schema import AVAILABLE, CATEGORY, ITEM, USER, VALUE

PAIRS: Final = 50
"""Least number of pairs of rows of one item, from different users, that must tell."""
SAME: Final = 0.8
"""Least fraction of such pairs with the same value."""
CHANCE: Final = 0.25
"""Largest ratio of the pairs of one item that differ to the pairs of any items that differ."""
ROW: Final = "row"


def item_facts(head: TableHead, table: EventTable, items: ItemsConfig, kept: Sequence[str]) -> PropertyTable | None:
    """The log as a table of items, valid from the times of the events; None if no column is a fact about the item.

    kept: the properties to read, of CATEGORY and AVAILABLE
    """
    rules = table.rules
    names = rules.names
    used = {*names.by_purpose.values(), *(one.column for one in rules.where)}
    rows = head.head.rows.filter(pc.invert(rules.blanks(head.head.rows[names.item])))
    facts = facts_of(rows, names.user, names.item, [name for name in head.clear if name not in used])
    columns: dict[str, str] = {}
    for key, stated, purpose in (
        (CATEGORY, items.columns.category, "category"),
        (AVAILABLE, items.columns.available, "available"),
    ):
        name = stated if stated in head.names else next(iter(customary(facts, purpose)), None)
        if name is not None and key in kept:
            columns[key] = name
    if items.attributes is None:
        others = [name for name in head.names if name not in facts]
        attributes = detected(head, (*others, columns.get(AVAILABLE)), columns.get(CATEGORY), rules.blanks)
    else:
        attributes = {key: one for key, one in declared(items.attributes).items() if one.column in head.names}
    columns |= {key: attribute.column for key, attribute in attributes.items()}
    if not columns:
        return None
    wide = WideNames(names.item, names.time, columns)
    own = PropertyRules(wide=wide, times=rules.times, blanks=rules.blanks)
    return PropertyTable(table.files, table.dialect, own, attributes, from_events=True)


def facts_of(rows: pa.Table, user: str, item: str, columns: Sequence[str]) -> list[str]:
    """The columns whose value follows from the item: rows of one item have the same value, others often do not.

    rows: the first rows of the log, strings; of each user and item one row counts, since the rows of a visit agree
    """
    # Polars takes some names of columns as patterns, so the shop's names are not those of a frame.
    visits = pl.DataFrame({USER: pl.Series(rows[user]), ITEM: pl.Series(rows[item])}).with_row_index(ROW)
    first = visits.unique([USER, ITEM], keep="first", maintain_order=True)
    facts = []
    for name in dict.fromkeys(columns):
        if name not in rows.column_names:
            continue
        known = first.with_columns(pl.Series(rows[name]).gather(first[ROW]).alias(VALUE)).filter(pl.col(VALUE) != "")
        pairs = _pairs(known, ITEM)
        if pairs < PAIRS:
            continue
        same = _pairs(known, ITEM, VALUE) / pairs
        chance = _pairs(known, VALUE) / max(_pairs(known), 1)
        if same >= SAME and 1 - same < CHANCE * (1 - chance):
            facts.append(name)
    return facts


def _pairs(rows: pl.DataFrame, *columns: str) -> int:
    """The number of pairs of rows with the same values in these columns; of all rows without a column."""
    sizes = rows.group_by(*columns).len()["len"] if columns else pl.Series([len(rows)])
    sizes = sizes.cast(pl.Int64)
    return int((sizes * (sizes - 1) // 2).sum())
