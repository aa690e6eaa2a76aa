"""Files of item properties and of the category tree to the catalog, with Ray."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import ray

from recsys.cluster import read_blocks, run_tasks
from recsys.data.catalog import Catalog, Records, build_catalog
from recsys.data.quarantine import Quarantine
from recsys.data.readers.base import FilePiece
from recsys.data.reading import read_piece, split_file
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
    """The properties of a block, and the numbers of its rows.

    categories, availability: columns ITEM (int32 codes), TIME, VALUE (text); rows of known items only
    faults: validate.FAULTS
    not_asked, unknown_item: as in PropertyQuality
    """

    categories: pa.Table
    availability: pa.Table
    faults: pa.Table
    read: int
    not_asked: int
    unknown_item: int


def read_catalog(
    source: Source, properties: Sequence[str], now: int, items: Ids, quarantine: Quarantine
) -> tuple[Catalog, PropertyQuality]:
    """The catalog of `items`, and the numbers of rows. Rows of other items are counted and dropped.

    properties: names of the properties to read; now: the clock of the run, ms
    """
    pieces = [piece for file in source.properties for piece in split_file(file, PROPERTY_COLUMNS)]
    blocks: list[PropertyBlock] = []
    if pieces and properties:
        logger.debug("reading item properties: %d files, %d pieces", len(source.properties), len(pieces))
        raw = read_blocks(pieces, parse_properties, "read item properties", now=now, properties=properties)
        known = ray.put(items)
        blocks = ray.get(run_tasks(encode_properties, "encode item properties", [(block, known) for block in raw]))
    read = sum(block.read for block in blocks)
    faults = pa.concat_tables([FAULTS.empty_table(), *(block.faults for block in blocks)])
    quarantined = quarantine.add_checked("item property", read, faults, pieces)
    categories = _concatenated([block.categories for block in blocks])
    availability = _concatenated([block.availability for block in blocks])
    tree, tree_faults, tree_pieces = _read_tree(source)
    tree_quarantined = quarantine.add_checked("category tree", len(tree) + len(tree_faults), tree_faults, tree_pieces)
    ids = as_ids(categories[VALUE].combine_chunks(), tree[CATEGORY], tree[PARENT])
    catalog, problems = build_catalog(
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
        tree=problems,
    )
    return catalog, quality


def parse_properties(piece: FilePiece, number: int, now: int, properties: Sequence[str]) -> Iterator[pa.Table]:
    """PROPERTY_ROWS of the piece with this number, chunk after chunk; the first table is empty."""
    yield PROPERTY_ROWS.empty_table()
    for chunk in read_piece(piece, PROPERTY_COLUMNS):
        yield check_properties(chunk, number, now, properties)


def encode_properties(block: pa.Table, items: Ids) -> PropertyBlock:
    """The properties of known items, with item codes. Rows of other items are only counted."""
    rows = block.filter(pc.and_(pc.is_null(block[REASON]), pc.is_valid(block[ITEM])))
    faults = Faults(rows[ROW].to_numpy(), rows[PIECE].to_numpy())
    ids = rows[ITEM].combine_chunks()
    if items.kind == "int64":
        texts = ids
        ids, spelled = integers(texts)
        faults.reject(~spelled, ITEM, OTHER_KIND, texts)
        ids = pc.fill_null(ids, 0)
    codes = items.encode(ids)
    known = faults.usable & (codes != UNKNOWN)
    table = pa.table([codes, rows[TIME], rows[VALUE], rows[PROPERTY]], names=[ITEM, TIME, VALUE, PROPERTY])
    kept = table.filter(pa.array(known))
    counts = pc.and_(pc.is_null(block[REASON]), pc.is_null(block[ITEM]))
    not_asked = pc.sum(block.filter(counts)[ROWS]).as_py() or 0
    return PropertyBlock(
        categories=kept.filter(pc.equal(kept[PROPERTY], CATEGORY)).drop_columns([PROPERTY]),
        availability=kept.filter(pc.equal(kept[PROPERTY], AVAILABLE)).drop_columns([PROPERTY]),
        faults=pa.concat_tables([block.filter(pc.is_valid(block[REASON])).select(FAULTS.names), faults.table()]),
        read=len(block) - int(pc.sum(counts).as_py() or 0) + not_asked,
        not_asked=not_asked,
        unknown_item=int((faults.usable & ~known).sum()),
    )


def _concatenated(tables: list[pa.Table]) -> pa.Table:
    schema = pa.schema([(ITEM, pa.int32()), (TIME, pa.int64()), (VALUE, pa.string())])
    return pa.concat_tables([schema.empty_table(), *tables])


def _records(table: pa.Table, values: pa.Array) -> Records:
    return Records(table[ITEM].to_numpy(), table[TIME].to_numpy(), values)


def _read_tree(source: Source) -> tuple[pa.Table, pa.Table, list[FilePiece]]:
    """The rows of the category tree with one chunk a column, the rejected rows, and the pieces of the file.

    Cycles and missing parents are problems of the tree, not of a row; `build_catalog` removes them.
    """
    schema = pa.schema([(CATEGORY, pa.string()), (PARENT, pa.string())])
    pieces = [] if source.tree is None else split_file(source.tree, TREE_COLUMNS)
    parts = [
        check_tree(chunk, number) for number, piece in enumerate(pieces) for chunk in read_piece(piece, TREE_COLUMNS)
    ]
    tree = pa.concat_tables([schema.empty_table(), *(part for part, _ in parts)]).combine_chunks()
    return tree, pa.concat_tables([FAULTS.empty_table(), *(faults for _, faults in parts)]), pieces
