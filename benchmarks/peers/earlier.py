"""A shop as it was some time ago: the same files without the newest events."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from recsys.data.listing import Table
from recsys.data.sources import Source
from recsys.schema import TIME
from recsys.storage.filesystem import File, file_at

EVENTS = "events"


def before(source: Source, end: int, folder: Path) -> Source:
    """The source with a copy of its events in `folder` that ends at `end` (ms); rows without a time stay in it.

    Item properties stay as they are: what is learned as of a cut reads none after it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, file in enumerate(source.files("events")):
        time = pl.col(TIME).cast(pl.Int64, strict=False)
        copy = folder / f"events-{number}.parquet"
        _read(file).filter(time.is_null() | (time <= end)).write_parquet(copy)
        files.append(file_at(copy))
    others = [table for table in source.tables if table.name != EVENTS]
    return replace(source, tables=(Table(EVENTS, tuple(files)), *others))


def _read(file: File) -> pl.DataFrame:
    """All rows; those of a CSV file as text."""
    if file.name.endswith(".parquet"):
        with file.open() as opened:
            return pl.DataFrame(pq.read_table(opened))
    with file.stream() as stream:
        return pl.read_csv(stream.read(), infer_schema=False)
