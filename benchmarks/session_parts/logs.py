"""A file of sessions as a log: its periods, and the sessions of the test."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from recsys.arrays import offsets_of
from recsys.histories import Histories
from recsys.schema import DAY
from recsys.sessions.log import SessionLog

PERIOD: Final = 7 * DAY
"""A period counts as a week: the recency of the neighbours is chosen, so the unit is of no importance."""


@dataclass(frozen=True, slots=True)
class PeriodLog:
    """Sessions in the order of their ends.

    ids, periods: int64 (n_sessions,), id of each session, and the period of its last row
    """

    sessions: SessionLog
    ids: np.ndarray
    periods: np.ndarray
    n_items: int

    @classmethod
    def read(cls, path: Path) -> "PeriodLog":
        """The log in a Parquet file with the columns session, item and period; rows are in the order of time."""
        table = pl.read_parquet(path, columns=["session", "item", "period"])
        period = table["period"].cast(pl.Int64).to_numpy()
        place = np.argsort(period, kind="stable")
        table, period = table[place], period[place]
        session = table["session"].to_physical().rank("dense").to_numpy().astype(np.int64) - 1
        items, item = np.unique(table["item"].to_numpy(), return_inverse=True)
        period -= period.min()
        first = np.searchsorted(period, np.arange(period.max() + 2))
        within = (np.arange(len(period)) - first[period]) / np.maximum(first[period + 1] - first[period], 1)
        times = ((period + within) * PERIOD).astype(np.int64)
        order = np.lexsort((times, session))
        lengths = np.bincount(session)
        offsets = offsets_of(lengths)
        events = np.zeros(len(order), np.int8)
        histories = Histories(offsets, item[order].astype(np.int32), events, times[order])
        ends = offsets[1:] - 1
        by_end = np.argsort(times[order][ends], kind="stable")
        log = SessionLog(histories.take(by_end), by_end)
        return cls(log, by_end, period[order][ends][by_end], len(items))

    @property
    def last(self) -> int:
        """The last period, which is the test."""
        return int(self.periods.max())

    def before(self, period: int) -> SessionLog:
        """The sessions before a period."""
        return self.sessions.take(self.periods < period)

    def drawn(self, period: int, limit: int) -> SessionLog:
        """At most `limit` sessions of a period with two or more items that occur before it, in the order of their ids.

        Other items are left out.
        """
        past = self.before(period).sessions
        known = np.bincount(past.items, minlength=self.n_items) > 0
        rows = np.flatnonzero(self.periods == period)
        rows = rows[np.argsort(self.ids[rows], kind="stable")]
        sessions = self.sessions.sessions.take(rows)
        sessions = sessions.where(known[sessions.items])
        long = np.flatnonzero(sessions.lengths >= 2)
        chosen = long
        if len(long) > limit:
            chosen = np.sort(np.random.default_rng(0).choice(long, limit, replace=False))
        return SessionLog(sessions.take(chosen), self.ids[rows][chosen])

    def resampled(self, period: int, times: int) -> SessionLog:
        """The sessions before a period, drawn with replacement: `times` times as many, in the order of their ends."""
        past = self.before(period)
        rows = np.sort(np.random.default_rng(0).integers(0, len(past), times * len(past)))
        return past.take(rows)


def end_of(period: int) -> int:
    """The time at which a period begins, ms."""
    return period * PERIOD
