"""The benchmark protocol: one cut in time for all users, a draw of test users, and metrics by group of users."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import belongs, offsets_of, ragged_indices
from recsys.errors import ConfigError, TooLittleData
from recsys.evaluation import metrics
from recsys.evaluation.metrics import Truth
from recsys.evaluation.settings import MAX_CUTOFF
from recsys.histories import Histories
from recsys.schema import UNKNOWN

SAMPLE_SEED: Final = 0
"""Seed of the draw of test users. It is part of the protocol: all published figures are measured on the same users."""


@dataclass(frozen=True, slots=True)
class TestCases:
    """Test users, their events up to the cut, and their truth after it.

    users: Arrow array of ids (n_users,)
    histories: events of each user at or before the cut
    truth: the items of each user that count as hits, at least one
    """

    users: pa.Array
    histories: Histories
    truth: Truth

    def __len__(self) -> int:
        return len(self.users)

    @property
    def has_history(self) -> np.ndarray:
        """Whether each user has an event at or before the cut, bool (n_users,)."""
        return np.asarray(self.histories.lengths > 0)

    def take(self, rows: np.ndarray) -> "TestCases":
        """The test cases of some users; rows: int64 (n,), positions of these users, in the order of the result."""
        lengths = self.truth.sizes[rows]
        index = ragged_indices(self.truth.offsets[rows], lengths)
        return TestCases(
            self.users.take(pa.array(rows)),
            self.histories.take(rows),
            Truth(offsets_of(lengths), self.truth.items[index]),
        )


def test_cases(
    users: pa.Array,
    histories: Histories,
    window_start: int,
    window_end: int,
    *,
    targets: Sequence[int],
    known_items: np.ndarray,
) -> TestCases:
    """The test cases of one partition of users for the window (window_start, window_end], ms.

    A test user has at least one target event on a known item in the window. The user's truth is the set of these items.
    users: Arrow array of the partition's ids, in the order of `histories`; targets: event codes
    known_items: bool (n_items,), whether an item has an event of any user at or before window_start
    """
    window = histories.between(window_start, window_end)
    window = window.where(np.isin(window.events, targets) & known_items[window.items])
    pairs = np.unique(window.rows * len(known_items) + window.items)
    rows, items = np.divmod(pairs, len(known_items))
    truth = Truth(offsets_of(np.bincount(rows, minlength=len(users))), items.astype(np.int32))
    history = histories.until(window_start)
    return TestCases(users, history, truth).take(np.flatnonzero(truth.sizes))


def sample(cases: Sequence[TestCases], max_users: int) -> TestCases:
    """The test cases of all partitions, ordered by user id. More than `max_users` users are sampled.

    Raises TooLittleData if there is no test user.
    """
    merged = _concat([part for part in cases if len(part)])
    by_id = pc.sort_indices(merged.users).to_numpy()
    if len(by_id) > max_users:
        drawn = np.random.default_rng(SAMPLE_SEED).choice(len(by_id), max_users, replace=False)
        by_id = by_id[np.sort(drawn)]
    return merged.take(by_id)


def _concat(cases: Sequence[TestCases]) -> TestCases:
    if not cases:
        raise TooLittleData(
            "no user has a target event on a known item in the test window; expected at least one such user: "
            "check the settings targets and evaluation.test_days"
        )
    return TestCases(
        pa.concat_arrays([part.users for part in cases]),
        Histories.concat([part.histories for part in cases]),
        Truth(
            offsets_of(np.concatenate([part.truth.sizes for part in cases])),
            np.concatenate([part.truth.items for part in cases]),
        ),
    )


def new_items_only(cases: TestCases) -> tuple[TestCases, np.ndarray]:
    """Test cases of discovery, and the positions of their users in `cases`, int64 (n,).

    Items of the user's history are removed from the truth, and then users without truth. Ranked lists for these cases
    must not have items of the user's history either: see `without_seen`.
    """
    rows = np.repeat(np.arange(len(cases), dtype=np.int64), cases.truth.sizes)
    history = cases.histories
    new = ~belongs(rows, cases.truth.items, history.offsets, history.items)
    sizes = np.bincount(rows[new], minlength=len(cases))
    remaining = np.flatnonzero(sizes)
    truth = Truth(offsets_of(sizes), cases.truth.items[new])
    return replace(cases, truth=truth).take(remaining), remaining


def without_seen(ranked: np.ndarray, histories: Histories, k: int) -> np.ndarray:
    """The first k items of each list that are not in the user's history, int32 (n_users, k), padded with UNKNOWN.

    ranked: int32 (n_users, depth), padded with UNKNOWN
    """
    rows = np.arange(len(ranked), dtype=np.int64)[:, None]
    new = ~belongs(rows, ranked, histories.offsets, histories.items) & (ranked != UNKNOWN)
    return metrics.compact(ranked, new, k)


PER_USER: Final[Mapping[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]]] = {
    "ndcg": metrics.ndcg,
    "recall": metrics.recall,
    "precision": lambda hit, _, k: metrics.precision(hit, k),
    "hit": lambda hit, _, k: metrics.hit_rate(hit, k),
    "mrr": lambda hit, _, k: metrics.mrr(hit, k),
}
"""Metrics per user by name: functions of the hits, the sizes of the truth, and k; see `metrics`."""


def per_user(metric: str, ranked: np.ndarray, truth: Truth) -> np.ndarray:
    """The values of one metric such as `ndcg@10`, float64 (n_users,).

    Raises ConfigError for an unknown metric, DataError as `metrics.hits` does.
    """
    name, k = _parsed(metric)
    return PER_USER[name](metrics.hits(ranked, truth), truth.sizes, k)


def cutoff_of(metric: str) -> int:
    """The k of a metric such as `ndcg@10`; raises ConfigError for an unknown metric."""
    return _parsed(metric)[1]


def _parsed(metric: str) -> tuple[str, int]:
    """The name and the k of a metric such as `ndcg@10`."""
    name, _, k = metric.partition("@")
    if name not in PER_USER or not k.isdecimal() or not 1 <= int(k) <= MAX_CUTOFF:
        names = ", ".join(f"{name}@K" for name in PER_USER)
        raise ConfigError(f"metric {metric!r}: expected one of {names} with K from 1 to {MAX_CUTOFF}")
    return name, int(k)
