"""What the selection of candidates learns from: proposals of the oldest cut, as Ray tasks over partitions of users."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import ray

from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.shop import UserPartition
from recsys.features.profiles import build_profiles
from recsys.ids import hashes
from recsys.inference.stages import chunks, objectives
from recsys.models.tables import Tables
from recsys.retrieval.generator import propose
from recsys.retrieval.preranker import NO_PRERANKERS, PreRankerModel, PreRankerModels, fit_preranker, preranker_columns
from recsys.schema import Objective
from recsys.training.examples import hits, mixed, sample_rows
from recsys.training.plan import Plan
from recsys.training.windows import LabelWindow, chosen_users, label_windows

SALT: Final = 4
CHUNK: Final = 250
"""Users that one call of the sources handles."""
NEGATIVES: Final = 50
"""Proposals without a hit that a user keeps."""


def fit_prerankers(
    shop: ShopData, tables: "Mapping[int, ray.ObjectRef[Tables]]", plan: Plan, config: TrainConfig
) -> PreRankerModels:
    """From a cut of its own, so that no ranker sees what was learned from the labels of its rows; else none."""
    if plan.select is None:
        return NO_PRERANKERS
    [window] = label_windows(shop, [plan.select], config)
    wanted: tuple[Objective, ...] = ("all", "discover")
    rows = {
        objective: run_tasks(
            preranker_rows,
            "look at proposals",
            [(partition, window, tables[plan.select], objective, config) for partition in shop.partitions],
        )
        for objective in wanted
    }
    fitted = [run_tasks(fit_rows, "learn the selection of candidates", [tuple(rows[name])])[0] for name in wanted]
    return PreRankerModels(**dict(zip(wanted, ray.get(fitted), strict=True)))


def preranker_rows(
    partition: UserPartition, window: LabelWindow, tables: Tables, objective: Objective, config: TrainConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Proposals to the window's users: a hash, uint64 (n,), that orders them; what a Selector weighs, float32
    (n, n_columns); and whether they are hits, int8 (n,).
    """
    chosen = chosen_users(partition, window, config)
    user_hashes = hashes(partition.users.take(pa.array(chosen)), 2 * config.seed + SALT)
    histories = partition.histories.take(chosen)
    settings, found = config.inference, []
    for users in chunks(histories, CHUNK):
        chunk = histories.take(users)
        past = chunk.until(window.start).latest(settings.history.max_events)
        profiles = build_profiles(past, tables.statistics, window.start, settings.interactions)
        proposals = propose(
            profiles, tables.retrieval, tables.statistics, settings.candidates, objectives(objective, len(users))
        )
        label = hits(chunk.between(window.start, window.end), proposals.users, proposals.items, config)
        kept = sample_rows(proposals.users, proposals.items, label, user_hashes[users], NEGATIVES)
        shares = settings.candidates.shares.by_source()
        columns = preranker_columns(profiles, tables.statistics, proposals, kept, shares)
        found.append((mixed(user_hashes[users][proposals.users[kept]], proposals.items[kept]), columns, label[kept]))
    if not found:
        return np.zeros(0, np.uint64), np.zeros((0, 0), np.float32), np.zeros(0, np.int8)
    keys, columns, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return keys, columns, labels


def fit_rows(*parts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> PreRankerModel | None:
    """A selector from the rows of all partitions, in an order that does not depend on these."""
    some = [part for part in parts if len(part[0])]
    if not some:
        return None
    keys, columns, labels = (np.concatenate(arrays) for arrays in zip(*some, strict=True))
    order = np.argsort(keys, kind="stable")
    return fit_preranker(columns[order], labels[order] > 0)
