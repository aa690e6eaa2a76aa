"""Similar items and baskets for files of items and carts, through Ray Data: the lists of the service over blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import ray

from recsys.arrays import offsets_of
from recsys.ids import ID_TYPES, IdKind
from recsys.inference.batch import write_blocks
from recsys.inference.files import (
    check_arguments,
    distinct_ids,
    ids_of,
    open_for,
    rows_of_lists,
    text_column,
)
from recsys.inference.list_rules import ListRules
from recsys.inference.related import RelatedItems
from recsys.registry import bundle
from recsys.registry.bundle import Bundle
from recsys.registry.locate import open_store
from recsys.schema import ITEM, RANK, SCORE, UNKNOWN

SIMILAR: Final = "similar_itemid"
"""Column of the items that are similar to the one in ITEM."""
CART: Final = "cart"
"""Column of the name of a cart, any text."""
CODES: Final = "codes"
"""Column of the item codes of a request."""
ROWS: Final = 2000
"""Requests of a block."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests, and the lists that they get.

    registry: a URI that is valid on every node, since each node opens the version itself; version: its name
    table: the id of each request in the column `name`, and its item codes, list<int32>, in CODES
    unknown: distinct ids of items that the version does not know; they are passed over
    """

    registry: str
    version: str
    name: str
    table: pa.Table
    n: int
    out: Path
    schema: pa.Schema
    unknown: int
    rules: ListRules | None = None


def prepare_similar(
    registry: str, version: str | None, items: Path | None, n: int, out: Path, rules: ListRules | None = None
) -> Requests:
    """Requests for similar items; needs no Ray.

    items: a CSV file with a column itemid; None for all available items of the version
    version, out, rules: as in `batch.prepare`. Raises as `batch.prepare` does.
    """
    check_arguments(n, None, items, out)
    rows = None if items is None else text_column(items, ITEM)
    name, opened = open_for(registry, version, rules)
    if rows is None or items is None:
        codes = np.flatnonzero(opened.tables.statistics.available)
        unknown = 0
    else:
        codes = opened.items.encode(distinct_ids(rows, items, ITEM, opened.items.kind))
        unknown = int((codes == UNKNOWN).sum())
        codes = codes[codes != UNKNOWN]
    table = _table(ITEM, opened.items.decode(codes), codes, np.ones(len(codes), np.int64))
    schema = _schema([(ITEM, opened.items.kind), (SIMILAR, opened.items.kind)], list(opened.texts))
    return Requests(registry, name, ITEM, table, n, out, schema, unknown, rules)


def prepare_baskets(
    registry: str, version: str | None, carts: Path, n: int, out: Path, rules: ListRules | None = None
) -> Requests:
    """Requests for baskets; needs no Ray.

    carts: a CSV file with the columns cart and itemid, a row for each item of a cart
    version, out, rules: as in `batch.prepare`. Raises as `batch.prepare` does.
    """
    check_arguments(n, None, carts, out)
    rows = text_column(carts, CART, ITEM)
    name, opened = open_for(registry, version, rules)
    ids = ids_of(rows, carts, ITEM, opened.items.kind)
    codes = opened.items.encode(ids)
    unknown = len(ids.filter(pa.array(codes == UNKNOWN)).unique())
    numbered = rows.select(pl.col(CART).fill_null("")).with_columns(pl.Series(CODES, codes))
    grouped = numbered.group_by(CART, maintain_order=True).agg(pl.col(CODES).filter(pl.col(CODES) != UNKNOWN))
    lengths = grouped[CODES].list.len().to_numpy().astype(np.int64)
    listed = grouped[CODES].explode(empty_as_null=False, keep_nulls=False).to_numpy()
    table = _table(CART, grouped[CART].to_arrow().cast(pa.string()), listed, lengths)
    schema = _schema([(CART, "string"), (ITEM, opened.items.kind)], list(opened.texts))
    return Requests(registry, name, CART, table, n, out, schema, unknown, rules)


def write(requests: Requests) -> None:
    """Write the list of each request to its file, through Ray Data; needs Ray.

    Columns: the request's id, rank (1 = best), the item, score, and title and image where the version has them.
    Requests are in the order of their file.
    """
    dataset = ray.data.from_arrow(requests.table).repartition(max(1, len(requests.table) // ROWS))
    registry, version, n, name, rules = (
        requests.registry,
        requests.version,
        requests.n,
        requests.name,
        requests.rules,
    )

    def list_block(block: pa.Table) -> pa.Table:
        opened, related = _open(registry, version)
        return lists_of(block, name, opened, related, n, rules)

    dataset = dataset.map_batches(list_block, batch_size=None, batch_format="pyarrow")
    dataset.set_name("lists")
    dataset.context.execution_options.preserve_order = True
    write_blocks(dataset, requests.schema, requests.out)


def lists_of(
    block: pa.Table, name: str, opened: Bundle, related: RelatedItems, n: int, rules: ListRules | None = None
) -> pa.Table:
    """The lists of some requests, one row for each request and rank; columns as in `write`.

    block: see `Requests.table`; name: the column of the requests' ids, ITEM for similar items, CART for baskets
    """
    codes = block[CODES].combine_chunks()
    lengths = codes.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    items = codes.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
    holding = None if rules is None else rules.of_users([None] * len(block), n)
    if name == ITEM:
        listed = related.similar(items, n, holding)
    else:
        listed = related.basket(offsets_of(lengths), items, n, holding)
    requests, ranks = rows_of_lists(listed.offsets)
    return pa.table(
        {
            name: block[name].take(pa.array(requests)),
            RANK: ranks,
            SIMILAR if name == ITEM else ITEM: opened.items.decode(listed.items),
            SCORE: listed.scores,
            **{text: column.take(pa.array(listed.items)) for text, column in opened.texts.items()},
        }
    )


@cache
def _open(registry: str, version: str) -> tuple[Bundle, RelatedItems]:
    """A version, opened once in each worker process. The caller or the node's cache has checked its hashes."""
    opened = bundle.read(open_store(registry).path(version), verify=False)
    return opened, RelatedItems.from_bundle(opened)


def _table(name: str, ids: pa.Array, codes: np.ndarray, lengths: np.ndarray) -> pa.Table:
    lists = pa.ListArray.from_arrays(pa.array(offsets_of(lengths).astype(np.int32)), pa.array(codes.astype(np.int32)))
    return pa.table({name: ids, CODES: lists})


def _schema(ids: Sequence[tuple[str, IdKind]], texts: Sequence[str]) -> pa.Schema:
    (first, kind), (second, item_kind) = ids
    texts_of = [(name, pa.string()) for name in texts]
    return pa.schema(
        [(first, ID_TYPES[kind]), (RANK, pa.int32()), (second, ID_TYPES[item_kind]), (SCORE, pa.float64()), *texts_of]
    )
