"""Label windows to the ranker's rows, through Ray Data: one task for each window and partition of users."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import ray

from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.evaluation.metrics import belongs
from recsys.features.definitions import NAMES
from recsys.histories import Histories, ragged_indices
from recsys.ids import hashes
from recsys.inference.stages import CandidateStage, candidate_features, chunks
from recsys.models.ranking import RankingData
from recsys.models.tables import Tables
from recsys.training.windows import LabelWindow, chosen_users, label_windows

SALT: Final = 3
CHUNK: Final = 500
"""Users that one call of the stages handles."""
WINDOW, PARTITION, GROUP, LABEL = "window", "partition", "group", "label"
"""Columns of an example beside its features."""


def build_examples(
    shop: ShopData,
    tables: "Mapping[int, ray.ObjectRef[Tables]]",
    ages: Sequence[int],
    config: TrainConfig,
    *,
    sampled: bool,
) -> list[RankingData]:
    """The ranker's rows of the cuts at `ages`, in that order; see LabelWindow for `sampled`."""
    windows = label_windows(shop, ages, config, sampled=sampled)
    table_refs, partition_refs = [tables[age] for age in ages], list(shop.partitions)
    work = [{WINDOW: w, PARTITION: p} for w in range(len(windows)) for p in range(len(partition_refs))]

    def example_rows(batch: pa.Table) -> pa.Table:
        # The closure carries references, of which a task fetches the two it needs.
        window, number = batch[WINDOW][0].as_py(), batch[PARTITION][0].as_py()
        fitted, partition = ray.get([table_refs[window], partition_refs[number]])
        rows = make_examples(partition, windows[window], fitted, config)
        for name, value in ((PARTITION, number), (WINDOW, window)):
            rows = rows.add_column(0, name, pa.array(np.full(len(rows), value, np.int32)))
        return rows

    dataset = ray.data.from_items(work, override_num_blocks=len(work)).map_batches(
        example_rows, batch_size=1, batch_format="pyarrow"
    )
    dataset.set_name("ranking examples" if sampled else "validation examples")
    blocks = [block for block in ray.get(dataset.to_arrow_refs()) if len(block)]
    blocks.sort(key=lambda block: [block[name][0].as_py() for name in (WINDOW, PARTITION, GROUP)])
    return [_collect([b for b in blocks if b[WINDOW][0].as_py() == at]) for at in range(len(windows))]


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


def make_examples(partition: UserPartition, window: LabelWindow, tables: Tables, config: TrainConfig) -> pa.Table:
    """One row for each candidate kept: columns GROUP (the user's position), LABEL and the features."""
    chosen = chosen_users(partition, window, config)
    user_hashes = hashes(partition.users.take(pa.array(chosen)), 2 * config.seed + SALT)
    histories = partition.histories.take(chosen)
    stage = CandidateStage(tables, config.inference)
    groups, labels, matrices = (
        [np.zeros(0, np.int64)],
        [np.zeros(0, np.int8)],
        [np.zeros((0, len(NAMES)), np.float32)],
    )
    for users in chunks(histories, CHUNK):
        chunk = histories.take(users)
        of = stage.profile(chunk.until(window.start), window.start)
        candidates = stage(of)
        label = hits(chunk.between(window.start, window.end), candidates.users, candidates.items, config)
        rows = _sample(candidates.users, candidates.items, label, user_hashes[users], window, config)
        kept = candidates.take(rows)
        groups.append(chosen[users[kept.users]])
        labels.append(label[rows])
        matrices.append(candidate_features(of, kept, tables.statistics))
    matrix = np.concatenate(matrices)
    columns = {name: matrix[:, i] for i, name in enumerate(NAMES)}
    return pa.table({GROUP: np.concatenate(groups), LABEL: np.concatenate(labels), **columns})


def hits(after: Histories, users: np.ndarray, items: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Whether `after`, the events of a label window, has a target event of each (user, item); int8 (n_pairs,).

    Other events are no weaker kind of success: a shop has a hundred views to a purchase, and a ranker that learns
    from both follows the views.
    """
    targets = after.where(np.isin(after.events, config.target_codes))
    return belongs(users, items, targets.offsets, targets.items).astype(np.int8)


def _sample(
    users: np.ndarray,
    items: np.ndarray,
    label: np.ndarray,
    user_hashes: np.ndarray,
    window: LabelWindow,
    config: TrainConfig,
) -> np.ndarray:
    """Rows to keep, int64 ascending: of users with a label all labelled ones, and negatives chosen by hash."""
    labelled = np.bincount(users[label > 0], minlength=len(user_hashes))
    if not window.sampled:
        return np.flatnonzero(labelled[users])
    mixed = hashes(pa.array((user_hashes[users] ^ items.astype(np.uint64)).view(np.int64)))
    order = np.lexsort((mixed, label == 0, users))
    counts = np.bincount(users, minlength=len(user_hashes))
    quota = np.where(labelled > 0, np.minimum(counts, labelled + config.examples.negatives), 0)
    return np.sort(order[ragged_indices(np.cumsum(counts) - counts, quota)])
