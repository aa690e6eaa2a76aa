"""Training of LightGBM rankers by several workers through Ray Train.

Each worker reads its rows from Ray's object store. If a worker dies, the training starts again from the first tree, so
the ranker has the same bits.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.lightgbm import get_network_params
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.lightgbm.lightgbm_trainer import LightGBMTrainer

from recsys.models.rankers import lightgbm as lightgbm_ranker
from recsys.models.rankers.registry import RankerConfig
from recsys.models.rankers.rows import RankingData, TrainingSet
from recsys.storage.filesystem import File
from recsys.training.distributed.shards import RESTARTS, WAIT_SECONDS, deal


@dataclass(frozen=True, slots=True)
class Job:
    """The job of each worker; rows: a reference for each worker; valid: the rows that stop the training."""

    rows: "list[ray.ObjectRef[list[RankingData]]]"
    valid: "ray.ObjectRef[RankingData | None]"
    feature_names: list[str]
    categorical: list[str]
    config: RankerConfig
    n_trees: int | None
    callbacks: list[Callable[..., Any]]
    folder: File


def prepare(data: TrainingSet, config: RankerConfig, n_trees: int | None, folder: File) -> Job:
    """See `Workers.prepare`; folder: for the files of Ray Train"""
    valid = data.valid if n_trees is None else None
    return Job(
        [ray.put(own) for own in deal(data.parts, config.num_workers)],
        ray.put(valid),
        data.feature_names,
        data.categorical,
        config,
        n_trees,
        [lightgbm_ranker.Stopping() if valid is None else lightgbm_ranker.stopping(config, valid)],
        folder,
    )


def lead(job: Job) -> tuple[str, float]:
    """See `Workers.lead`."""
    # Half of the limit, since workers may die while they start and then start again.
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(WAIT_SECONDS / 2)
    trainer = _Trainer(
        grow,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=job.config.num_workers,
            resources_per_worker={"CPU": job.config.threads},
            placement_strategy="SPREAD",
        ),
        run_config=RunConfig(
            name="ranker",
            storage_path=job.folder.path,
            storage_filesystem=job.folder.system,
            failure_config=FailureConfig(max_failures=RESTARTS, controller_failure_limit=1),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    result: Any = trainer.fit()
    return result.return_value


class _Trainer(LightGBMTrainer):
    """A trainer without Ray Train's cleaner of placement groups.

    The workers' CPUs are freed with the trainer's process anyway. On a machine with several clusters, the cleaner
    connects to the newest one, and takes the CPUs away from a training of another cluster.
    """

    def _create_default_callbacks(self) -> list[Any]:
        given = super()._create_default_callbacks()
        return [callback for callback in given if not isinstance(callback, PlacementGroupCleanerCallback)]


def grow(settings: dict[str, Job]) -> tuple[str, float]:
    """Train in one worker: the ranker's text and its validation NDCG."""
    job = settings["job"]
    rank = ray.train.get_context().get_world_rank()
    parts, valid = ray.get([job.rows[rank], job.valid])
    data = TrainingSet(parts, valid, job.feature_names, job.categorical, whole=False)
    network = get_network_params()
    return lightgbm_ranker.train_part(data, job.config, network, n_trees=job.n_trees, callbacks=job.callbacks)
