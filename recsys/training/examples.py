"""Label windows to the ranker's rows, through Ray Data: one block for each cut and partition of users."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import ray

from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.data.split import cut
from recsys.data.tasks import run_tasks
from recsys.features.build import build
from recsys.features.definitions import NAMES
from recsys.histories import Histories, ragged_indices
from recsys.ids import hashes
from recsys.inference.stages import CandidateStage, chunks
from recsys.models.ranking import RankingData
from recsys.models.tables import Tables

USER_SALT: Final = 2
NEGATIVE_SALT: Final = 3
CHUNK: Final = 500
"""Users that one call of the stages handles."""
WINDOW, PARTITION, GROUP, LABEL = "window", "partition", "group", "label"
"""Columns of an example beside its features."""
NOBODY: Final = -1.0


@dataclass(frozen=True, slots=True)
class Window:
    """A cut and its label window.

    quotas: largest hash (as a share of all hashes) of the users taken, by kind: with a target event and history,
    with another event and history, with a target event and no history; NOBODY takes none
    sampled: whether candidates without a label are sampled; the others keep all candidates
    """

    age: int
    start: int
    end: int
    quotas: tuple[float, float, float] = (NOBODY, NOBODY, NOBODY)
    sampled: bool = True


def build_examples(
    shop: ShopData,
    tables: "dict[int, ray.ObjectRef[Tables]]",
    ages: Sequence[int],
    config: TrainConfig,
    *,
    sampled: bool,
) -> list[RankingData]:
    """The ranker's rows of the cuts at `ages`, in that order.

    sampled: for training, with negatives sampled and every grade of label; else for validation, with all
    candidates of users with a target event, and target labels alone.
    """
    horizon = config.horizon
    windows = [Window(age, cut(shop.end, age), cut(shop.end, age - horizon), sampled=sampled) for age in ages]
    windows = _with_quotas(shop, windows, config)
    work = [{"window": w, "partition": p} for w in range(len(windows)) for p in range(len(shop.partitions))]
    references = {"tables": [tables[age] for age in ages], "partitions": list(shop.partitions)}

    def example_rows(batch: pa.Table) -> pa.Table:
        # Only this block's tables and partition are fetched; the closure carries references.
        [row] = batch.to_pylist()
        at, number = row["window"], row["partition"]
        fetched = ray.get([references["tables"][at], references["partitions"][number]])
        return _rows(at, number, windows[at], *fetched, config)

    dataset = ray.data.from_items(work, override_num_blocks=len(work))
    dataset = dataset.map_batches(example_rows, batch_size=1, batch_format="pyarrow")
    dataset.set_name("ranking examples" if sampled else "validation examples")
    blocks = sorted(ray.get(dataset.to_arrow_refs()), key=_place)
    return [_collect([block for block in blocks if _place(block)[0] == at]) for at in range(len(windows))]


def _place(block: pa.Table) -> tuple[int, int, int]:
    """Window, partition and first group: where a block belongs, whatever the order in which blocks finish."""
    if not len(block):
        return (-1, 0, 0)
    return block[WINDOW][0].as_py(), block[PARTITION][0].as_py(), block[GROUP][0].as_py()


def _with_quotas(shop: ShopData, windows: Sequence[Window], config: TrainConfig) -> list[Window]:
    """Choose users by hash of their ids, so that the choice does not depend on the partitions."""
    calls = [(partition, windows, config) for partition in shop.partitions]
    found = ray.get(run_tasks(label_users, "find users of the label windows", calls))
    examples = config.examples
    result = []
    for at, window in enumerate(windows):
        targets, others, new = (
            np.sort(np.concatenate([part[at][kind] for part in found])) for kind in range(3)
        )
        limit = examples.max_users if window.sampled else examples.validation_users
        n_new = min(len(new), int(limit * examples.max_new_share))
        n_targets = min(len(targets), limit - n_new)
        n_others = (
            min(len(others), limit - n_new - n_targets) if window.sampled and examples.other_grade else 0
        )
        quotas = (_last(targets, n_targets), _last(others, n_others), _last(new, n_new))
        result.append(Window(window.age, window.start, window.end, quotas, window.sampled))
    return result


def _last(ascending: np.ndarray, n: int) -> float:
    return float(ascending[n - 1]) if n else NOBODY


def label_users(
    partition: UserPartition, windows: Sequence[Window], config: TrainConfig
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Hashes in [0, 1) of the users of each window by kind, see Window.quotas."""
    share = _shares(partition, config)
    return [tuple(share[kind] for kind in _kinds(partition.histories, w, config)) for w in windows]  # type: ignore[misc]


def _shares(partition: UserPartition, config: TrainConfig) -> np.ndarray:
    return hashes(partition.users, config.seed * 2 + USER_SALT) / float(2**64)


def _kinds(
    histories: Histories, window: Window, config: TrainConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who is of which kind, bool (n_users,) each."""
    after = histories.between(window.start, window.end)
    target = np.bincount(after.rows[np.isin(after.events, config.target_codes)], minlength=len(histories)) > 0
    old = histories.until(window.start).lengths > 0
    return target & old, ~target & old & (after.lengths > 0), target & ~old


def _rows(
    at: int, number: int, window: Window, tables: Tables, partition: UserPartition, config: TrainConfig
) -> pa.Table:
    """One row for each candidate kept, in the order of users and items."""
    share = _shares(partition, config)
    kinds = zip(_kinds(partition.histories, window, config), window.quotas, strict=True)
    chosen = np.flatnonzero(np.logical_or.reduce([kind & (share <= quota) for kind, quota in kinds]))
    user_hashes = hashes(partition.users.take(pa.array(chosen)), NEGATIVE_SALT)
    stage = CandidateStage(tables, config.inference)
    parts = []
    histories = partition.histories.take(chosen)
    for users in chunks(histories, CHUNK):
        own = histories.take(users)
        of = stage.profile(own.until(window.start), window.start)
        candidates = stage(of)
        label = grade(
            own.between(window.start, window.end), candidates.users, candidates.items, window, config
        )
        keep = _keep(candidates.users, label, candidates.items, user_hashes[users], window, config)
        kept = candidates.take(keep)
        matrix = build(of, tables.statistics, kept.users, kept.items, kept.scores)
        parts.append((label[keep], kept.users + users[0], matrix))
    if not parts:
        parts.append((np.zeros(0, np.int8), np.zeros(0, np.int64), np.zeros((0, len(NAMES)), np.float32)))
    labels, groups, matrices = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    columns: dict[str, Any] = {
        WINDOW: np.full(len(labels), at, np.int32),
        PARTITION: np.full(len(labels), number, np.int32),
        GROUP: groups,
        LABEL: labels,
    }
    columns |= {name: matrices[:, i] for i, name in enumerate(NAMES)}
    return pa.table(columns)


def grade(
    after: Histories, users: np.ndarray, items: np.ndarray, window: Window, config: TrainConfig
) -> np.ndarray:
    """Relevance grades of (user, item) pairs by the window's events, int8 (n_pairs,)."""
    examples = config.examples
    width = int(max(after.items.max(initial=0), items.max(initial=0))) + 1
    grades = np.where(
        np.isin(after.events, config.target_codes),
        examples.target_grade,
        examples.other_grade if window.sampled else 0,
    )
    keys, place = np.unique(after.rows * width + after.items, return_inverse=True)
    best = np.zeros(len(keys), np.int8)
    np.maximum.at(best, place, grades.astype(np.int8))
    if not len(keys):
        return np.zeros(len(users), np.int8)
    wanted = users * width + items
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[found] == wanted, best[found], np.int8(0))


def _keep(
    users: np.ndarray,
    label: np.ndarray,
    items: np.ndarray,
    user_hashes: np.ndarray,
    window: Window,
    config: TrainConfig,
) -> np.ndarray:
    """Rows to keep, int64: those of users with a label, with a sample of the unlabelled ones, by hash."""
    hit = np.bincount(users, label > 0, minlength=len(user_hashes)) > 0
    if not window.sampled:
        return np.flatnonzero(hit[users])
    mixed = hashes(pa.array((user_hashes[users] ^ items.astype(np.uint64)).view(np.int64)), config.seed)
    order = np.lexsort((mixed, label == 0, users))
    counts = np.bincount(users, minlength=len(user_hashes))
    labelled = np.bincount(users, label > 0, minlength=len(user_hashes)).astype(np.int64)
    quota = np.where(hit, np.minimum(counts, labelled + config.examples.negatives), 0)
    starts = np.cumsum(counts) - counts
    return np.sort(order[ragged_indices(starts, quota)])


def _collect(blocks: Sequence[pa.Table]) -> RankingData:
    """One window's rows as matrices."""
    n_rows = sum(len(block) for block in blocks)
    features = np.empty((n_rows, len(NAMES)), np.float32)
    start = 0
    for block in blocks:
        for i, name in enumerate(NAMES):
            features[start : start + len(block), i] = block[name].to_numpy()
        start += len(block)
    keys = [np.stack([block[name].to_numpy() for name in (PARTITION, GROUP)]) for block in blocks]
    group = np.concatenate([np.zeros((2, 0), np.int64), *keys], axis=1)
    borders = np.flatnonzero((np.diff(group, axis=1) != 0).any(axis=0)) + 1
    sizes = np.diff(np.concatenate(([0], borders, [n_rows]))) if n_rows else np.zeros(0, np.int64)
    labels = np.concatenate([np.zeros(0, np.int8), *(block[LABEL].to_numpy() for block in blocks)])
    return RankingData(features, labels, sizes)
