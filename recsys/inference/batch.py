"""Recommendations for a file of users, through Ray Data: the stages of the service over blocks of users."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from recsys.data.validate import integers
from recsys.errors import DataError
from recsys.ids import IdKind
from recsys.inference.probe import probed_path
from recsys.inference.recommender import Recommender
from recsys.inference.stages import objectives
from recsys.registry import bundle
from recsys.registry.bundle import Bundle
from recsys.registry.locate import open_store
from recsys.schema import ITEM, LGB_SCORE, MF_SCORE, RANK, SCORE, USER, Objective

MAX_N = 1000
"""Recommendations to a user at most; there are no more than `inference.candidates.size`."""
BLOCK = 500
"""Users that one call of the stages handles."""


def recommend(
    registry: str,
    version: str | None,
    users: Path,
    n: int,
    out: Path,
    objective: Objective = "all",
    repeat_cap: float | None = None,
) -> int:
    """Write the `n` best items of each user in `users` (CSV with a column visitorid) to a Parquet file.

    registry: a URI that means the same on every node: each opens the version for itself
    version: None for the one in production
    objective: whether all items are shown, only those new to a user, or only those they had
    repeat_cap: largest fraction of a list that items the user had before may fill, in [0, 1]; None for the version's

    Columns: visitorid, rank (1 = best), itemid, score, lgb_score, mf_score (null where there is none). Users are
    in the order of the file; those without events get the cold-start list, repeated ones appear once. Returns the
    number of users.
    Raises DataError for a file that cannot be used, RegistryError for a version that is missing or broken.
    """
    if not 1 <= n <= MAX_N:
        raise DataError(f"n is {n}; expected 1 to {MAX_N}")
    if repeat_cap is not None and not 0 <= repeat_cap <= 1:
        raise DataError(f"repeat share is {repeat_cap:g}; expected 0 to 1")
    _check_out(out)
    folder = probed_path(open_store(registry), version)
    name, checked = folder.name, bundle.read(folder)
    schema = _schema(checked.snapshot.users.kind, checked.items.kind)
    ids = read_users(users, checked.snapshot.users.kind)
    dataset = ray.data.from_arrow(pa.table({USER: ids})).repartition(max(1, len(ids) // 5000))

    def recommend_block(batch: pa.Table) -> Iterator[pa.Table]:
        opened, recommender = _open(registry, name)
        column = batch[USER].combine_chunks()
        for start in range(0, len(column), BLOCK):
            yield recommend_to(column.slice(start, BLOCK), opened, recommender, n, objective, repeat_cap)

    dataset = dataset.map_batches(recommend_block, batch_size=None, batch_format="pyarrow")
    dataset.set_name("recommendations")
    dataset.context.execution_options.preserve_order = True
    _write_parquet(dataset, schema, out)
    return len(ids)


def _write_parquet(dataset: ray.data.Dataset, schema: pa.Schema, out: Path) -> None:
    """Write the blocks in their order; `out` appears only when it is whole."""
    blocks = dataset.to_arrow_refs()
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f"{out.name}.unfinished")
    try:
        with pq.ParquetWriter(unfinished, schema) as writer:
            for block in blocks:
                rows = ray.get(block)
                if len(rows):  # an empty block has no columns either
                    writer.write_table(rows.cast(schema))
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)


def _check_out(out: Path) -> None:
    if out.is_dir():
        raise DataError(f"{out} is a folder; expected a Parquet file to write")
    if odd := next((folder for folder in out.parents if folder.exists() and not folder.is_dir()), None):
        raise DataError(f"{out} cannot be written: {odd} is not a folder")


def recommend_to(
    users: pa.Array,
    opened: Bundle,
    recommender: Recommender,
    n: int,
    objective: Objective = "all",
    repeat_cap: float | None = None,
) -> pa.Table:
    """Recommendations to some users, rows by user and rank."""
    histories = opened.snapshot.take(opened.snapshot.rows(users))
    caps = None if repeat_cap is None else np.full(len(users), repeat_cap)
    ranked = recommender(histories, opened.manifest.live_watermark, n, objectives(objective, len(users)), caps)
    lengths = np.diff(ranked.offsets)
    rank = np.arange(len(ranked.items)) - np.repeat(ranked.offsets[:-1], lengths) + 1
    return pa.table(
        {
            USER: users.take(pa.array(np.repeat(np.arange(len(users)), lengths))),
            RANK: rank.astype(np.int32),
            ITEM: opened.items.decode(ranked.items),
            SCORE: ranked.scores,
            LGB_SCORE: ranked.lgb_scores,
            MF_SCORE: pa.array(ranked.mf_scores, mask=np.isnan(ranked.mf_scores)),
        }
    )


@cache
def _open(registry: str, version: str) -> tuple[Bundle, Recommender]:
    """A worker's bundle, opened once; the caller has checked its hashes, or its node's cache."""
    opened = bundle.read(open_store(registry).path(version), verify=False)
    return opened, Recommender.from_bundle(opened)


def read_users(path: Path, kind: IdKind) -> pa.Array:
    """The distinct ids of a CSV file with a column visitorid, in their order.

    Raises DataError that names the file and, for an id of the wrong type, its row.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected a CSV file with a column {USER}")
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: not a CSV file: {str(error).splitlines()[0]}") from error
    if USER not in frame.columns:
        raise DataError(f"{path}: no column {USER}; found {', '.join(frame.columns)}")
    column = frame[USER].str.strip_chars()
    if kind == "int64":  # spelled as training demands, since 007 may be somebody else
        numbers, spelled = integers(column.to_arrow())
        ids = pl.Series(USER, numbers).set(pl.Series(~spelled), None)
    else:
        ids = column.replace("", None)
    if ids.null_count():
        row = int(ids.is_null().arg_max() or 0)
        raise DataError(f"{path}, row {row + 2}: {USER} is {column[row]!r}; expected an id of type {kind}")
    return ids.unique(maintain_order=True).to_arrow().cast(pa.int64() if kind == "int64" else pa.string())


def _schema(users: IdKind, items: IdKind) -> pa.Schema:
    types = {"int64": pa.int64(), "string": pa.string()}
    return pa.schema(
        [
            (USER, types[users]),
            (RANK, pa.int32()),
            (ITEM, types[items]),
            (SCORE, pa.float64()),
            (LGB_SCORE, pa.float64()),
            (MF_SCORE, pa.float64()),
        ]
    )
