"""Logs of dates without a time of day: the rows of a user and a day get an order, and repeated rows count."""

import numpy as np
import polars as pl

from recsys.schema import DAY, TIME, USER

ORDER = "order"
"""Column with the position of a row in all files, int64."""
PIECE_ROWS = 1 << 40
"""Positions of one piece: no piece has more rows."""


def midnights(times: np.ndarray, zone: str) -> np.ndarray:
    """Whether each time (int64 (n,), ms since 1970 UTC) is the beginning of a day of UTC, and of the zone; bool (n, 2).

    A day begins later than at 0:00 where the clocks are set forward at midnight.
    """
    utc = times % DAY == 0
    if zone == "UTC" or utc.all():
        return np.column_stack([utc, utc])
    return np.column_stack([utc, _local_day(times, zone) != _local_day(times - 1, zone)])


def _local_day(times: np.ndarray, zone: str) -> np.ndarray:
    """The day of each time by the clocks of a zone, days since 1970."""
    local = pl.Series(times).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return local.dt.date().cast(pl.Int32).to_numpy()


def positions(pieces: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The position of each row in all files, int64 (n,); pieces: numbers of the pieces, rows: positions in them."""
    return pieces.astype(np.int64) * PIECE_ROWS + rows


def spread(events: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The events of a day a millisecond apart, in the order of the files, and the largest number of ms added.

    events: columns TIME, USER and ORDER, among others. ORDER is dropped.
    """
    ordered = events.sort(USER, TIME, ORDER)
    added = pl.int_range(pl.len(), dtype=pl.Int64).over(USER, TIME)
    later = ordered.with_columns(added.alias(ORDER))
    most = int(later[ORDER].max() or 0)  # type: ignore[arg-type]
    return later.with_columns(pl.col(TIME) + pl.col(ORDER)).drop(ORDER), most
