"""Fit the pre-ranker: proposals of the oldest cut and their outcome, as Ray tasks over partitions of users."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import ray

from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.shop import UserPartition
from recsys.features.profiles import build_profiles
from recsys.ids import draw
from recsys.inference.stages import chunks, objectives
from recsys.models.tables import Tables
from recsys.retrieval.generator import propose
from recsys.retrieval.preranker import (
    NO_PRERANKERS,
    PreRankerModel,
    PreRankerModels,
    fit_preranker,
    preranker_columns,
)
from recsys.schema import Objective
from recsys.timeline import Cut
from recsys.training.context import Context
from recsys.training.examples import hits, mixed, sample_rows
from recsys.training.windows import Window, chosen_users, label_windows

CHUNK: Final = 250
"""Users that one call of the sources handles."""
NEGATIVES: Final = 50
"""Proposals without a hit that a user keeps."""


@dataclass(frozen=True, slots=True)
class ProposalRows:
    """Proposals to the users of a label window, as rows to learn from.

    keys: uint64 (n,), hashes that order the rows whatever the partitions
    columns: float32 (n, n_columns), see `preranker_columns`; labels: int8 (n,), 1 for a hit
    """

    keys: np.ndarray
    columns: np.ndarray
    labels: np.ndarray


def fit_prerankers(context: Context, tables: "Mapping[Cut, ray.ObjectRef[Tables]]") -> PreRankerModels:
    """The pre-rankers, fitted on a cut of their own: no ranker sees a model that learned from the labels of its rows.

    Without such a cut there are none.
    """
    cut, config = context.plan.preranker, context.config
    if cut is None:
        return NO_PRERANKERS
    [window], fitted = label_windows(context, [cut]), tables[cut]

    def fit(objective: Objective) -> "ray.ObjectRef[PreRankerModel | None]":
        calls = [(partition, window, fitted, objective, config) for partition in context.shop.partitions]
        rows = run_tasks(proposal_rows, "collect proposals", calls)
        [model] = run_tasks(fit_rows, "fit the pre-ranker", [(config.inference.candidates.source_names, *rows)])
        return model

    every, discovery = ray.get([fit("all"), fit("discover")])
    return PreRankerModels(all=every, discovery=discovery)


def proposal_rows(
    partition: UserPartition, window: Window, tables: Tables, objective: Objective, config: TrainConfig
) -> ProposalRows:
    """The rows of a partition's users."""
    chosen = chosen_users(partition, window, config)
    user_hashes = draw(partition.users.take(pa.array(chosen)), "pre-ranker", config.seed)
    histories = partition.histories.take(chosen)
    settings = config.inference
    parts = []
    for users in chunks(histories, CHUNK):
        chunk = histories.take(users)
        past = chunk.until(window.cut.time).latest(settings.history.max_events)
        profiles = build_profiles(past, tables.statistics, window.cut.time, settings.interactions)
        proposals = propose(
            profiles, tables.retrieval, tables.statistics, settings.candidates, objectives(objective, len(users))
        )
        label = hits(chunk.between(window.cut.time, window.end), proposals.users, proposals.items, config)
        kept = sample_rows(proposals.users, proposals.items, label, user_hashes[users], NEGATIVES)
        columns = preranker_columns(profiles, tables.statistics, proposals, kept, settings.candidates.source_weights)
        keys = mixed(user_hashes[users][proposals.users[kept]], proposals.items[kept])
        parts.append(ProposalRows(keys, columns, label[kept]))
    return _concat(parts)


def fit_rows(source_names: tuple[str, ...], *parts: ProposalRows) -> PreRankerModel | None:
    """A model from the rows of all partitions, in an order that does not depend on the partitions."""
    rows = _concat([part for part in parts if len(part.keys)])
    order = np.argsort(rows.keys, kind="stable")
    return fit_preranker(rows.columns[order], rows.labels[order] > 0, source_names)


def _concat(parts: list[ProposalRows]) -> ProposalRows:
    if not parts:
        return ProposalRows(np.zeros(0, np.uint64), np.zeros((0, 0), np.float32), np.zeros(0, np.int8))
    return ProposalRows(*(np.concatenate([getattr(part, name) for part in parts]) for name in ProposalRows.__slots__))
