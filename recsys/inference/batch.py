"""Recommendations for a file of users, through Ray Data: the stages of the service over blocks of users."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
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
from recsys.storage.files import file_in_place_of

MAX_N = 1000
"""The largest n. A user never gets more than `inference.candidates.size` items."""
BLOCK = 500
"""Users that one call of the stages handles."""


WRITERS: Final[dict[str, Callable[[Path, pa.Schema], Any]]] = {".csv": pacsv.CSVWriter, ".parquet": pq.ParquetWriter}
"""The writers of recommendations, by the ending of the file."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Users, and the recommendations that they get.

    registry, version: as in `prepare`, but with the name of the version
    users: distinct ids, int64 or string; schema: columns of the file
    """

    registry: str
    version: str
    users: pa.Array
    n: int
    objective: Objective
    repeat_cap: float | None
    out: Path
    schema: pa.Schema


def prepare(
    registry: str,
    version: str | None,
    users: Path,
    n: int,
    out: Path,
    objective: Objective = "all",
    repeat_cap: float | None = None,
) -> Batch:
    """A batch whose version opens and whose users and file are in order; needs no Ray.

    registry: a URI that is valid on every node, since each node opens the version itself
    version: None for the one in production
    users: a CSV file with a column visitorid; out: a file with one of the endings of WRITERS
    objective: recommend all items, only items new to a user, or only items of the user's history
    repeat_cap: largest fraction of a list for items of the user's history, in [0, 1]; None for the version's setting
    Raises DataError for an invalid argument or file, RegistryError for a version that is missing or broken.
    """
    if not 1 <= n <= MAX_N:
        raise DataError(f"n is {n}; expected 1 to {MAX_N}")
    if repeat_cap is not None and not 0 <= repeat_cap <= 1:
        raise DataError(f"repeat cap (--repeat-share) is {repeat_cap:g}; expected 0 to 1")
    _check_out(out)
    if out.exists() and users.exists() and out.samefile(users):
        raise DataError(f"{out} is the file of the users; expected another file to write")
    texts = _user_column(users)
    folder = probed_path(open_store(registry), version)
    checked = bundle.read(folder)
    kind = checked.snapshot.users.kind
    schema = _schema(kind, checked.items.kind)
    return Batch(registry, folder.name, _as_ids(texts, users, kind), n, objective, repeat_cap, out, schema)


def write(batch: Batch) -> None:
    """Write the best items of each user to a file, through Ray Data; needs Ray.

    Columns: visitorid, rank (1 = best), itemid, score, lgb_score, mf_score (null if the item has no factor). Users are
    in the order of their file. Users without events get the cold-start list; repeated users appear once.
    """
    ids = batch.users
    dataset = ray.data.from_arrow(pa.table({USER: ids})).repartition(max(1, len(ids) // 5000))

    def recommend_block(block: pa.Table) -> Iterator[pa.Table]:
        opened, recommender = _open(batch.registry, batch.version)
        column = block[USER].combine_chunks()
        for start in range(0, len(column), BLOCK):
            users = column.slice(start, BLOCK)
            yield recommend_to(users, opened, recommender, batch.n, batch.objective, batch.repeat_cap)

    dataset = dataset.map_batches(recommend_block, batch_size=None, batch_format="pyarrow")
    dataset.set_name("recommendations")
    dataset.context.execution_options.preserve_order = True
    _write_blocks(dataset, batch.schema, batch.out)


def _write_blocks(dataset: ray.data.Dataset, schema: pa.Schema, out: Path) -> None:
    """Write the blocks in their order; `out` appears only when it is complete."""
    blocks = dataset.to_arrow_refs()
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f"{out.name}.unfinished")
    try:
        with WRITERS[out.suffix](unfinished, schema) as writer:
            for block in blocks:
                rows = ray.get(block)
                if len(rows):  # an empty block has no columns either
                    writer.write_table(rows.cast(schema))
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)


def _check_out(out: Path) -> None:
    if out.is_dir():
        raise DataError(f"{out} is a folder; expected a file to write")
    if out.suffix not in WRITERS:
        raise DataError(f"{out}: its ending {out.suffix!r} is none of {', '.join(WRITERS)}")
    if file := file_in_place_of(out.parent):
        raise DataError(f"{out} cannot be written: {file} is not a folder")


def recommend_to(
    users: pa.Array,
    opened: Bundle,
    recommender: Recommender,
    n: int,
    objective: Objective = "all",
    repeat_cap: float | None = None,
) -> pa.Table:
    """Recommendations to some users, one row for each user and rank; columns as in `recommend`."""
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
    """A version, opened once in each worker process. The caller or the node's cache has checked its hashes."""
    opened = bundle.read(open_store(registry).path(version), verify=False)
    return opened, Recommender.from_bundle(opened)


def read_users(path: Path, kind: IdKind) -> pa.Array:
    """The distinct ids of a CSV file with a column visitorid, in their order.

    Raises DataError that names the file and, for an id of the wrong type, its row.
    """
    return _as_ids(_user_column(path), path, kind)


def _user_column(path: Path) -> pl.Series:
    """The column visitorid of a CSV file as text, without spaces around the ids."""
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
    return frame[USER].str.strip_chars()


def _as_ids(column: pl.Series, path: Path, kind: IdKind) -> pa.Array:
    """The distinct ids of a column of texts; path: for the error that names the first text that is no id."""
    if kind == "int64":  # spelled as training requires, since 007 may be another user than 7
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
