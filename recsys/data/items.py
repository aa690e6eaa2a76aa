"""Item properties and the category tree to the catalog, with Ray."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import ray

from recsys.cluster import run_tasks
from recsys.data.blocks import read_blocks
from recsys.data.catalog import Catalog, Records, build_catalog
from recsys.data.quarantine import Quarantine
from recsys.data.reading import Piece, pieces_of, read_piece
from recsys.data.shop import PropertyQuality
from recsys.data.sources import Source
from recsys.data.validate import (
    FAULTS,
    OTHER_KIND,
    PIECE,
    PROPERTY_COLUMNS,
    PROPERTY_ROWS,
    REASON,
    ROW,
    ROWS,
    TREE_COLUMNS,
    Faults,
    as_ids,
    check_properties,
    check_tree,
    integers,
)
from recsys.ids import Ids
from recsys.schema import AVAILABLE, CATEGORY, ITEM, PARENT, PROPERTY, TIME, UNKNOWN, VALUE

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PropertyBlock:
    """Properties of known items, columns ITEM (int32 codes), TIME, VALUE (text), and what else there was."""

    categories: pa.Table
    availability: pa.Table
    faults: pa.Table
    read: int
    not_asked: int
    unknown_item: int


def read_catalog(
    source: Source, asked: Sequence[str], now: int, items: Ids, aside: Quarantine
) -> tuple[Catalog, PropertyQuality]:
    """The catalog of `items`; properties of other items are counted and dropped."""
    pieces = [piece for file in source.properties for piece in pieces_of(file, PROPERTY_COLUMNS)]
    blocks: list[PropertyBlock] = []
    if pieces and asked:
        logger.info("reading item properties: %d files, %d pieces", len(source.properties), len(pieces))
        raw = read_blocks(pieces, parse_properties, "read item properties", now=now, asked=asked)
        known = ray.put(items)
        blocks = ray.get(run_tasks(encode_properties, "encode item properties", [(block, known) for block in raw]))
    read = sum(block.read for block in blocks)
    faults = pa.concat_tables([FAULTS.empty_table(), *(block.faults for block in blocks)])
    quarantined = aside.check("item property", read, faults, pieces)
    categories = _joined([block.categories for block in blocks])
    availability = _joined([block.availability for block in blocks])
    tree, tree_faults, tree_pieces = _read_tree(source)
    tree_quarantined = aside.check("category tree", len(tree) + len(tree_faults), tree_faults, tree_pieces)
    ids = as_ids(categories[VALUE].combine_chunks(), tree[CATEGORY], tree[PARENT])
    catalog, mended = build_catalog(
        len(items),
        _records(categories, ids[0]),
        _records(availability, pc.equal(availability[VALUE], "1").combine_chunks()),
        ids[1],
        ids[2],
    )
    quality = PropertyQuality(
        read=read,
        kept=len(categories) + len(availability),
        not_asked=sum(block.not_asked for block in blocks),
        unknown_item=sum(block.unknown_item for block in blocks),
        quarantined=quarantined,
        tree_quarantined=tree_quarantined,
        tree=mended,
    )
    return catalog, quality


def parse_properties(piece: Piece, number: int, now: int, asked: Sequence[str]) -> Iterator[pa.Table]:
    yield PROPERTY_ROWS.empty_table()
    for chunk in read_piece(piece, PROPERTY_COLUMNS):
        yield check_properties(chunk, number, now, asked)


def encode_properties(block: pa.Table, items: Ids) -> PropertyBlock:
    """Item codes for ids; what belongs to no known item is only counted."""
    rows = block.filter(pc.and_(pc.is_null(block[REASON]), pc.is_valid(block[ITEM])))
    faults = Faults(rows[ROW].to_numpy(), rows[PIECE].to_numpy())
    ids = rows[ITEM].combine_chunks()
    if items.kind == "int64":
        texts = ids
        ids, spelled = integers(texts)
        faults.add(~spelled, ITEM, OTHER_KIND, texts)
        ids = pc.fill_null(ids, 0)
    codes = items.encode(ids)
    known = faults.usable & (codes != UNKNOWN)
    table = pa.table([codes, rows[TIME], rows[VALUE], rows[PROPERTY]], names=[ITEM, TIME, VALUE, PROPERTY])
    kept = table.filter(pa.array(known))
    left_out = pc.and_(pc.is_null(block[REASON]), pc.is_null(block[ITEM]))
    not_asked = pc.sum(block.filter(left_out)[ROWS]).as_py() or 0
    return PropertyBlock(
        categories=kept.filter(pc.equal(kept[PROPERTY], CATEGORY)).drop_columns([PROPERTY]),
        availability=kept.filter(pc.equal(kept[PROPERTY], AVAILABLE)).drop_columns([PROPERTY]),
        faults=pa.concat_tables([block.filter(pc.is_valid(block[REASON])).select(FAULTS.names), faults.table()]),
        read=len(block) - int(pc.sum(left_out).as_py() or 0) + not_asked,
        not_asked=not_asked,
        unknown_item=int((faults.usable & ~known).sum()),
    )


def _joined(tables: list[pa.Table]) -> pa.Table:
    schema = pa.schema([(ITEM, pa.int32()), (TIME, pa.int64()), (VALUE, pa.string())])
    return pa.concat_tables([schema.empty_table(), *tables])


def _records(table: pa.Table, values: pa.Array) -> Records:
    return Records(table[ITEM].to_numpy(), table[TIME].to_numpy(), values)


def _read_tree(source: Source) -> tuple[pa.Table, pa.Table, list[Piece]]:
    """Rows of the category tree, each column in one chunk, faults, and the pieces these are in.

    Cycles and missing parents are no faults of a row: `build_catalog` mends them.
    """
    schema = pa.schema([(CATEGORY, pa.string()), (PARENT, pa.string())])
    pieces = [] if source.tree is None else pieces_of(source.tree, TREE_COLUMNS)
    parts = [
        check_tree(chunk, number) for number, piece in enumerate(pieces) for chunk in read_piece(piece, TREE_COLUMNS)
    ]
    tree = pa.concat_tables([schema.empty_table(), *(part for part, _ in parts)]).combine_chunks()
    return tree, pa.concat_tables([FAULTS.empty_table(), *(faults for _, faults in parts)]), pieces
