"""Training of XGBoost rankers by several workers through xgboost_ray.

Each worker reads one Parquet file. If a worker dies, the training continues from the last checkpoint.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost_ray

from recsys.errors import ModelError
from recsys.models.rankers import xgboost as xgboost_ranker
from recsys.models.rankers import xgboost_data
from recsys.models.rankers.registry import RankerConfig
from recsys.models.rankers.rows import RankingData, TrainingSet
from recsys.storage.filesystem import File
from recsys.training.distributed.shards import RESTARTS, WAIT_SECONDS, deal

CHECKPOINT_TREES: Final = 5
"""Trees between two checkpoints."""
LABEL, QID = "label", "qid"
"""Columns of a shard beside the features."""


@dataclass(frozen=True, slots=True)
class Job:
    """The job of the workers.

    shards: paths in `folder` of the rows to learn from, one for each worker
    valid: paths of the rows that stop the training, or none
    """

    shards: list[str]
    valid: list[str]
    folder: File
    types: list[str]
    categories: dict[str, list[int]]
    settings: dict[str, Any]
    config: RankerConfig
    n_trees: int | None
    callbacks: list[Any]


def prepare(data: TrainingSet, config: RankerConfig, n_trees: int | None, folder: File) -> Job:
    """See `Workers.prepare`; raises ModelError for weights that xgboost_ray does not take."""
    valid = [data.valid] if data.valid is not None and n_trees is None else []
    known = xgboost_data.known_categories(data)
    tables = xgboost_data.category_tables(data.feature_names, known)

    def write(name: str, parts: Sequence[RankingData]) -> list[str]:
        shards = deal([without_weightless_groups(part) for part in parts], config.num_workers)
        files = [folder.inside(f"{name}-{number}.parquet") for number in range(len(shards))]
        for file, shard in zip(files, shards, strict=True):
            _write_shard(file, shard, data.feature_names, tables, config)
        return [file.path for file in files]

    return Job(
        write("train", data.parts),
        write("valid", valid) if valid else [],
        folder,
        xgboost_data.feature_types(data),
        known,
        xgboost_ranker.parameters(config, xgboost_ranker.leaf_weight(data, config)),
        config,
        n_trees,
        [xgboost_ranker.stopping(config)] if valid else [],
    )


def lead(job: Job) -> tuple[str, float]:
    """See `Workers.lead`."""
    os.environ["RXGB_PLACEMENT_GROUP_TIMEOUT_S"] = str(int(WAIT_SECONDS))
    booster = xgboost_ray.train(
        job.settings,
        _rows(job, job.shards),
        job.n_trees or job.config.max_trees,
        evals=[(_rows(job, job.valid), xgboost_ranker.VALID)] if job.valid else [],
        callbacks=job.callbacks,
        verbose_eval=False,
        ray_params=xgboost_ray.RayParams(
            num_actors=job.config.num_workers,
            cpus_per_actor=job.config.threads,
            max_actor_restarts=RESTARTS,
            checkpoint_frequency=CHECKPOINT_TREES,
            verbose=False,
        ),
    )
    ndcg = float(booster.attr(xgboost_ranker.BEST_SCORE) or "nan")
    return xgboost_ranker.finished(booster, job.categories, job.config).to_text(), ndcg


class _Shards(xgboost_ray.RayDMatrix):  # type: ignore[misc]
    """Parquet files, one for each actor, with feature types, which xgboost_ray does not pass on itself."""

    def update_matrix_properties(self, matrix: Any) -> None:
        matrix.feature_types = self.feature_types


def _rows(job: Job, shards: list[str]) -> _Shards:
    return _Shards(shards, label=LABEL, qid=QID, feature_types=job.types, filesystem=job.folder.system)


def without_weightless_groups(part: RankingData) -> RankingData:
    """The rows of query groups with weight 1, without weights: xgboost_ray accepts no weights of query groups.

    Raises ModelError if the weight of a query group is neither 0 nor 1.
    """
    if part.weights is None:
        return part
    counted = part.group_weights > 0
    kept = np.repeat(counted, part.groups)
    if (part.weights[kept] != 1).any():
        raise ModelError("ranker: with backend xgboost and several workers the weight of a query group must be 0 or 1")
    return RankingData(part.features[kept], part.labels[kept], part.groups[counted])


def _write_shard(
    file: File, shard: Sequence[RankingData], names: Sequence[str], tables: dict[int, np.ndarray], config: RankerConfig
) -> None:
    """One Parquet file, part after part: features, LABEL and QID."""
    fields = [*((name, pa.float32()) for name in names), (LABEL, pa.float32()), (QID, pa.int64())]
    with pq.ParquetWriter(file.path, pa.schema(fields), filesystem=file.system, compression="none") as writer:
        first = 0
        for part in shard:
            features = xgboost_data.with_missing(part.features, tables)
            groups = np.repeat(np.arange(first, first + len(part.groups)), part.groups)
            columns = [*features.T, xgboost_data.labels(part, config), groups]
            writer.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], schema=writer.schema))
            first += len(part.groups)
