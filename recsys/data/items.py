"""Files of item properties and of the category tree to the catalog, with Ray."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import ray

from recsys.cluster import read_blocks, run_tasks
from recsys.data.catalog import Catalog, build_catalog
from recsys.data.category_paths import tree_of_paths
from recsys.data.changes import Records
from recsys.data.facts import changes_of_days, outer_rows
from recsys.data.item_attributes import build_attributes
from recsys.data.layout.ids import integers
from recsys.data.layout.keys import is_attribute
from recsys.data.layout.model import Layout, PropertyTable, TreeTable
from recsys.data.layout.rules import PropertyRules
from recsys.data.quarantine import Quarantine
from recsys.data.readers.base import FilePiece
from recsys.data.reading import read_piece, split_files
from recsys.data.shop import PropertyQuality
from recsys.data.tree import read_tree
from recsys.data.validate import (
    FAULTS,
    PIECE,
    PROPERTY_ROWS,
    REASON,
    ROW,
    ROWS,
    as_ids,
    check_properties,
)
from recsys.ids import IdKind, Ids
from recsys.schema import AVAILABLE, CATEGORY, ITEM, PARENT, PROPERTY, TIME, UNKNOWN, VALUE

logger = logging.getLogger(__name__)

FACT_PARTS: Final = 8
"""Tasks at most that merge the facts of a log."""

ATTRIBUTE_ROWS: Final = pa.schema(
    [(ITEM, pa.int32()), (TIME, pa.int64()), (PROPERTY, pa.string()), (VALUE, pa.string())]
)
"""Rows of attributes: an item's code, ms, the attribute's key, and its value as text."""


@dataclass(frozen=True, slots=True)
class PropertyBlock:
    """The properties of a block, and the numbers of its rows.

    categories, availability: columns ITEM (int32 codes), TIME, VALUE (text); rows of known items only
    attributes: the same, with a column PROPERTY
    faults: validate.FAULTS
    read, not_asked, unknown_item: as in PropertyQuality
    rows: rows of the files that tell of an item or cannot be used; a row of a wide table has several properties
    """

    categories: pa.Table
    availability: pa.Table
    attributes: pa.Table
    faults: pa.Table
    read: int
    not_asked: int
    unknown_item: int
    rows: int


@dataclass(frozen=True, slots=True)
class Goods:
    """The items of a shop with their catalog, and the numbers of rows.

    items: those with an event, and where the shop gives attributes also those with an attribute
    lacking: columns that some files lack, a text each
    """

    items: Ids
    catalog: Catalog
    quality: PropertyQuality
    lacking: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RawProperties:
    """Checked rows of all tables of items, PROPERTY_ROWS, and the pieces of files that they come from.

    blocks: of all tables; describing: of those that may describe items without an event
    tables: the blocks of each table; wide: for each block, whether its table has a row for each item
    from_events: whether the table is the log of events, which is the only one then
    lacking: columns that some files lack, a text each
    """

    blocks: list["ray.ObjectRef[pa.Table]"] = field(default_factory=list)
    tables: list[slice] = field(default_factory=list)
    wide: list[bool] = field(default_factory=list)
    describing: list["ray.ObjectRef[pa.Table]"] = field(default_factory=list)
    pieces: list[FilePiece] = field(default_factory=list)
    from_events: bool = False
    lacking: list[str] = field(default_factory=list)


def read_goods(layout: Layout, now: int, items: Ids, quarantine: Quarantine, max_attributes: int) -> Goods:
    """The catalog of all items. Rows of other items are counted and dropped.

    now: the clock of the run, ms; items: those with an event; max_attributes: see `ItemsConfig`
    """
    raw = _read_properties(layout.properties, now)
    columns = {key: column for table in layout.properties for key, column in table.attributes.items()}
    known = items
    if raw.describing:
        described = run_tasks(attribute_items, "find the items", [(block, items.kind) for block in raw.describing])
        known = Ids.from_values(pa.chunked_array([items.values, *ray.get(described)]))
    blocks = _encoded(raw, known)
    rows = pa.concat_tables([ATTRIBUTE_ROWS.empty_table(), *(block.attributes for block in blocks)])
    attributes = build_attributes(rows, columns, len(known), max_attributes)
    if not attributes and len(known) > len(items):  # without attributes nothing is known of items without an event
        known, blocks = items, _encoded(raw, items)
    quarantined: Counter[str] = Counter()
    for part in raw.tables:
        quarantined.update(_quarantine(blocks[part], raw.pieces, quarantine))
    catalog, quality = _catalog(layout.tree, known, blocks, quarantine)
    quality = replace(quality, quarantined=dict(quarantined.most_common()))
    return Goods(known, replace(catalog, attributes=attributes), quality, tuple(raw.lacking))


def _read_properties(tables: Sequence[PropertyTable], now: int) -> RawProperties:
    """The checked rows of all tables."""
    raw = RawProperties(from_events=any(table.from_events for table in tables))
    for table in tables:
        if not (table.rules.spelled if table.rules.wide is None else table.rules.wide.properties):
            continue
        own, lacking = split_files(table.files, table.rules.columns, table.dialect, table.rules.optional)
        logger.debug("reading item properties: %d files, %d pieces", len(table.files), len(own))
        settings = {"now": now, "rules": table.rules, "before": len(raw.pieces), "from_events": table.from_events}
        blocks = read_blocks(own, parse_properties, "read item properties", **settings)
        raw.tables.append(slice(len(raw.blocks), len(raw.blocks) + len(blocks)))
        raw.blocks.extend(blocks)
        raw.wide.extend([table.rules.wide is not None] * len(blocks))
        raw.describing.extend(blocks if table.attributes and not table.from_events else [])
        raw.pieces.extend(own)
        raw.lacking.extend(lacking)
    return raw


def _encoded(raw: RawProperties, items: Ids) -> list[PropertyBlock]:
    """The properties of these items, a block for each of the rows; for a log, a block for each part of the items."""
    known = ray.put(items)
    calls = [(block, known, wide) for block, wide in zip(raw.blocks, raw.wide, strict=True)]
    encoded = run_tasks(encode_properties, "encode item properties", calls)
    if raw.from_events:
        n = min(len(encoded), FACT_PARTS)
        encoded = run_tasks(merge_facts, "merge facts about items", [(part, n, *encoded) for part in range(n)])
    blocks: list[PropertyBlock] = ray.get(encoded)
    return blocks


def merge_facts(part: int, parts: int, *blocks: PropertyBlock) -> PropertyBlock:
    """The changes of the facts about some items; the first of the parts has the numbers of all rows."""

    def changes(name: str) -> pa.Table:
        tables = (getattr(block, name) for block in blocks)
        own = [table.filter(pa.array(table[ITEM].to_numpy() % parts == part)) for table in tables]
        return changes_of_days(pa.concat_tables(own))

    counted = blocks if part == 0 else ()
    return PropertyBlock(
        categories=changes("categories"),
        availability=changes("availability"),
        attributes=changes("attributes"),
        faults=pa.concat_tables([FAULTS.empty_table(), *(block.faults for block in counted)]),
        read=sum(block.read for block in counted),
        not_asked=sum(block.not_asked for block in counted),
        unknown_item=0,  # they are rows of events, which are counted as such
        rows=sum(block.rows for block in counted),
    )


def _quarantine(blocks: list[PropertyBlock], pieces: list[FilePiece], quarantine: Quarantine) -> dict[str, int]:
    """The reasons of the unusable rows of a table. Raises DataError if they are too many."""
    faults = pa.concat_tables([FAULTS.empty_table(), *(block.faults for block in blocks)])
    rows = sum(block.rows + block.not_asked for block in blocks)
    return quarantine.add_checked("item property", rows, faults, pieces)


def _catalog(
    table: TreeTable | None, items: Ids, blocks: list[PropertyBlock], quarantine: Quarantine
) -> tuple[Catalog, PropertyQuality]:
    """The catalog without its attributes, and the numbers of rows, but for those of unusable properties."""
    categories = _concatenated([block.categories for block in blocks])
    availability = _concatenated([block.availability for block in blocks])
    tree, tree_faults, tree_pieces = read_tree(table)
    tree_quarantined = quarantine.add_checked("category tree", len(tree) + len(tree_faults), tree_faults, tree_pieces)
    if table is None:
        tree = tree_of_paths(categories[VALUE])
    ids = as_ids(categories[VALUE].combine_chunks(), tree[CATEGORY], tree[PARENT])
    catalog, problems = build_catalog(
        len(items),
        _records(categories, ids[0]),
        _records(availability, pc.equal(availability[VALUE], "1").combine_chunks()),
        ids[1],
        ids[2],
    )
    quality = PropertyQuality(
        read=sum(block.read for block in blocks),
        kept=len(categories) + len(availability) + sum(len(block.attributes) for block in blocks),
        not_asked=sum(block.not_asked for block in blocks),
        unknown_item=sum(block.unknown_item for block in blocks),
        quarantined={},
        tree_quarantined=tree_quarantined,
        tree=problems,
    )
    return catalog, quality


def parse_properties(
    piece: FilePiece, number: int, now: int, rules: PropertyRules, before: int, from_events: bool
) -> Iterator[pa.Table]:
    """PROPERTY_ROWS of the piece with this number, chunk after chunk; the first table is empty.

    before: the number of pieces of other tables, which come before
    from_events: whether the piece is one of the log of events. Then an item has many rows of the same values, of which
        the outer ones of a day are taken, and unusable rows are reported with the events; see `facts`.
    """
    yield PROPERTY_ROWS.empty_table()
    for chunk in read_piece(piece, rules.columns):
        rows = check_properties(outer_rows(chunk, rules, now) if from_events else chunk, number + before, now, rules)
        yield rows.filter(pc.and_(pc.is_null(rows[REASON]), pc.is_valid(rows[ITEM]))) if from_events else rows


def attribute_items(block: pa.Table, kind: IdKind) -> pa.Array:
    """The distinct ids, of this kind, of the items with an attribute in a block."""
    rows = block.filter(pc.and_(pc.is_null(block[REASON]), pc.is_valid(block[ITEM])))
    return _ids(rows.filter(is_attribute(rows[PROPERTY]))[ITEM].combine_chunks(), kind).drop_null().unique()


def _ids(texts: pa.Array, kind: IdKind) -> pa.Array:
    """The texts as ids of this kind, null where they are none."""
    if kind == "string":
        return texts
    ids, spelled = integers(texts)
    return pc.if_else(pa.array(spelled), ids, None)


def encode_properties(block: pa.Table, items: Ids, wide: bool = False) -> PropertyBlock:
    """The properties of known items, with item codes. Rows of other items are only counted.

    wide: whether a row of the file may have several properties
    """
    rows = block.filter(pc.and_(pc.is_null(block[REASON]), pc.is_valid(block[ITEM])))
    codes = items.encode(_ids(rows[ITEM].combine_chunks(), items.kind))
    known = codes != UNKNOWN
    table = pa.table([codes, rows[TIME], rows[VALUE], rows[PROPERTY]], names=[ITEM, TIME, VALUE, PROPERTY])
    kept = table.filter(pa.array(known))
    counts = pc.and_(pc.is_null(block[REASON]), pc.is_null(block[ITEM]))
    not_asked = pc.sum(block.filter(counts)[ROWS]).as_py() or 0
    own = len(block) - int(pc.sum(counts).as_py() or 0)
    return PropertyBlock(
        categories=kept.filter(pc.equal(kept[PROPERTY], CATEGORY)).drop_columns([PROPERTY]),
        availability=kept.filter(pc.equal(kept[PROPERTY], AVAILABLE)).drop_columns([PROPERTY]),
        attributes=kept.filter(is_attribute(kept[PROPERTY])).select(ATTRIBUTE_ROWS.names),
        faults=block.filter(pc.is_valid(block[REASON])).select(FAULTS.names),
        read=own + not_asked,
        not_asked=not_asked,
        unknown_item=int((~known).sum()),
        rows=pl.DataFrame(block.filter(pc.invert(counts)).select([PIECE, ROW])).n_unique() if wide else own,
    )


def _concatenated(tables: list[pa.Table]) -> pa.Table:
    schema = pa.schema([(ITEM, pa.int32()), (TIME, pa.int64()), (VALUE, pa.string())])
    return pa.concat_tables([schema.empty_table(), *tables])


def _records(table: pa.Table, values: pa.Array) -> Records:
    return Records(table[ITEM].to_numpy(), table[TIME].to_numpy(), values)
