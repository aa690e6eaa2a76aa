"""Files of batch commands: the ids of requests in, their lists out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from recsys.data.layout.ids import integers, plain_ids
from recsys.errors import DataError
from recsys.ids import ID_TYPES, IdKind
from recsys.inference.list_rules import ListRules
from recsys.inference.probe import probed_path
from recsys.inference.recommender import items_of
from recsys.registry import bundle
from recsys.registry.bundle import Bundle
from recsys.registry.locate import open_store
from recsys.rules.book import RuleBook
from recsys.storage.files import file_in_place_of

MAX_N = 1000
"""The largest n. A user never gets more than `inference.candidates.size` items."""
ROW: Final = "row"
"""Column of the number of a row in its file, from 2 for the first one after the header."""
WRITERS: Final[dict[str, Callable[[Path, pa.Schema], Any]]] = {".csv": pacsv.CSVWriter, ".parquet": pq.ParquetWriter}
"""The writers of recommendations, by the ending of the file."""


def open_for(registry: str, version: str | None, rules: ListRules | None) -> tuple[str, Bundle]:
    """The name of a version that was tried, and its content; version: None for the one in production.

    Raises RuleError for a rule that it cannot apply, RegistryError if it is missing or broken.
    """
    folder = probed_path(open_store(registry), version)
    opened = bundle.read(folder)
    if rules is not None:
        rules.check(RuleBook(items_of(opened)))
    return folder.name, opened


def rows_of_lists(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The request of each row, int64 (n,), and its rank in the list, int32 (n,), 1 for the best."""
    lengths = np.diff(offsets)
    requests = np.arange(len(lengths)).repeat(lengths)
    return requests, (np.arange(len(requests)) - offsets[:-1][requests] + 1).astype(np.int32)


def check_arguments(n: int, repeat_cap: float | None, source: Path | None, out: Path) -> None:
    """Raise DataError for an argument that no batch takes; source: the file of the requests, None without one."""
    if not 1 <= n <= MAX_N:
        raise DataError(f"n is {n}; expected 1 to {MAX_N}")
    if repeat_cap is not None and not 0 <= repeat_cap <= 1:
        raise DataError(f"repeat cap (--repeat-share) is {repeat_cap:g}; expected 0 to 1")
    check_out(out)
    if source is not None and out.exists() and source.exists() and out.samefile(source):
        raise DataError(f"{out} is the file that is read; expected another file to write")


def check_out(out: Path) -> None:
    """Raise DataError where no recommendations can be written."""
    if out.is_dir():
        raise DataError(f"{out} is a folder; expected a file to write")
    if out.suffix not in WRITERS:
        raise DataError(f"{out}: its ending {out.suffix!r} is none of {', '.join(WRITERS)}")
    if file := file_in_place_of(out.parent):
        raise DataError(f"{out} cannot be written: {file} is not a folder")


def read_frame(path: Path, wanted: str, *, parquet: bool = False) -> pl.DataFrame:
    """A CSV file as text, or a Parquet file with its types; wanted: for the error about a folder.

    Raises DataError if the file cannot be read.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected {wanted}")
    try:
        return pl.read_parquet(path) if parquet else pl.read_csv(path, infer_schema=False)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path}: not a {'Parquet' if parquet else 'CSV'} file: {str(error).splitlines()[0]}"
        ) from error


def text_column(path: Path, *columns: str) -> pl.DataFrame:
    """Columns of a CSV file as text, with the number of each row in ROW; blank lines are passed over.

    Raises DataError if the file cannot be read or lacks a column.
    """
    frame = read_frame(path, f"a CSV file with a column {' and a column '.join(columns)}")
    semicolons = "; expected a comma between columns" if any(";" in name for name in frame.columns) else ""
    for column in columns:
        if column not in frame.columns:
            raise DataError(f"{path}: no column {column}; found {', '.join(frame.columns)}{semicolons}")
    filled = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
    numbers = pl.int_range(2, len(frame) + 2, eager=True)
    return pl.DataFrame({ROW: numbers, **{column: frame[column] for column in columns}}).filter(filled)


def distinct_ids(rows: pl.DataFrame, path: Path, column: str, kind: IdKind) -> pa.Array:
    """The distinct ids of the rows of `text_column` in their order, see `ids_of`."""
    ids = pl.Series(ids_of(rows, path, column, kind)).unique(maintain_order=True).to_arrow()
    return ids.cast(ID_TYPES[kind])


def ids_of(rows: pl.DataFrame, path: Path, column: str, kind: IdKind) -> pa.Array:
    """The ids of the rows of `text_column`; path: for the error that names the first text that is no id.

    As in training, a whole decimal such as 7.0 is the integer 7, and blanks around a text belong to the id. Blanks
    around an integer are dropped.
    """
    texts = pl.Series(column, plain_ids(rows[column].to_arrow())[0])
    stripped = pl.Series(plain_ids(texts.str.strip_chars().to_arrow())[0])
    if kind == "int64":  # spelled as training requires, since 007 may be another user than 7
        numbers, spelled = integers(stripped.to_arrow())
        ids = pl.Series(column, numbers).set(pl.Series(~spelled), None)
    else:
        ids = texts.set(stripped == "", None)
    if ids.null_count():
        first = int(ids.is_null().arg_max() or 0)
        raise DataError(f"{path}, row {rows[ROW][first]}: {column} is {texts[first]!r}; expected an id of type {kind}")
    return ids.to_arrow().cast(ID_TYPES[kind])
