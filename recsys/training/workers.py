"""The ranker trained by several workers on Ray: LightGBM through Ray Train, XGBoost through xgboost_ray.

Query groups are dealt out whole. A worker that dies starts again, and with it the training: LightGBM's from the first
tree, so that it ends with the same bits, XGBoost's from its last checkpoint. Nothing waits for CPUs longer than a
minute.
"""

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import xgboost_ray
from ray.exceptions import RayError, RayTaskError
from ray.train.lightgbm import get_network_params
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import ControllerError
from ray.train.v2.lightgbm.lightgbm_trainer import LightGBMTrainer
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from recsys.data.places import File, file_at
from recsys.errors import ConfigError, ModelError
from recsys.models import lightgbm_ranker, xgboost_ranker
from recsys.models.backends import ranker_from_text, train
from recsys.models.ranking import Ranker, RankerConfig, RankingData, TrainingSet, Watch

RESTARTS: Final = 3
"""Deaths of workers that a training outlives."""
CHECKPOINT_TREES: Final = 5
"""XGBoost's trees between two checkpoints."""
WAIT_SECONDS: Final = 60.0
"""For CPUs that the cluster has but others use."""
LABEL, QID = "label", "qid"
"""Columns of a shard beside the features."""


def fit_ranker(
    data: TrainingSet, config: RankerConfig, *, n_trees: int | None = None, watch: Watch | None = None, work: str | Path
) -> Ranker:
    """See `backends.train`; with several workers `watch` is called once, after the last tree, with the ranker's own.

    work: folder that all nodes share, or s3://bucket/prefix, for the shards; nothing stays there
    Raises ConfigError where the cluster lacks the CPUs, at once, or they are not free within WAIT_SECONDS.
    """
    if config.num_workers == 1:
        return train(data, config, n_trees=n_trees, watch=watch)
    data.check_grades(config)
    grow = _grow_lightgbm if config.backend == "lightgbm" else _grow_xgboost
    check_cpus(config)
    _wait_for_cpus(config)
    folder = file_at(f"{work}/ranker-{uuid.uuid4().hex}")
    folder.system.create_dir(folder.path)
    try:
        text, ndcg = grow(data, config, n_trees, folder)
    finally:
        folder.system.delete_dir(folder.path)
    ranker = ranker_from_text(text, config.backend, config.threads)
    if watch is not None:
        valid = data.valid
        watch(ranker.n_trees, ndcg, lambda: np.zeros(0) if valid is None else ranker.predict(valid.features))
    return ranker


def shares(parts: Sequence[RankingData], n: int) -> list[list[RankingData]]:
    """`n` runs of whole query groups with nearly equal numbers of rows, as views; raises ModelError for fewer groups.

    Equal to within the largest query group.
    """
    sizes = np.concatenate([part.groups for part in parts])
    if len(sizes) < n:
        raise ModelError(f"{len(sizes)} query groups cannot be shared out among ranker.num_workers={n}")
    ends = np.cumsum(sizes)
    even = np.searchsorted(ends, ends[-1] * np.arange(1, n) / n) + 1
    # at least one group for each worker
    borders = np.clip(np.maximum.accumulate(even - np.arange(1, n)), 0, len(sizes) - n) + np.arange(1, n)
    return [_between(parts, start, end) for start, end in zip([0, *borders], [*borders, len(sizes)], strict=True)]


def _between(parts: Sequence[RankingData], start: int, end: int) -> list[RankingData]:
    """The query groups from `start` up to `end`, counted through all parts."""
    found, before = [], 0
    for part in parts:
        first, last = np.clip([start - before, end - before], 0, len(part.groups))
        before += len(part.groups)
        if first < last:
            rows = slice(int(part.groups[:first].sum()), int(part.groups[:last].sum()))
            weights = None if part.weights is None else part.weights[rows]
            found.append(RankingData(part.features[rows], part.labels[rows], part.groups[first:last], weights))
    return found


def check_cpus(config: RankerConfig) -> None:
    """Raises ConfigError where the cluster has no room for the workers; nothing else runs beside them."""
    if _room(config) < config.num_workers:
        raise ConfigError(f"{_asked(config)}; {_there()}")


def _room(config: RankerConfig) -> int:
    """Workers for which the cluster has CPUs, used or not."""
    return sum(int(cpus // config.threads) for cpus in _node_cpus())


def _node_cpus() -> list[float]:
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"].get("CPU", 0) for node in nodes if node["Alive"]]


def _asked(config: RankerConfig) -> str:
    n, threads = config.num_workers, config.threads
    return f"ranker.num_workers={n} and ranker.threads={threads} ask for {n * threads} CPUs, {threads} a worker"


def _there() -> str:
    cpus = _node_cpus()
    return f"the cluster has {sum(cpus):g} on {len(cpus)} nodes, at most {max(cpus, default=0):g} on one"


def _wait_for_cpus(config: RankerConfig) -> None:
    """Raises ConfigError where others keep the CPUs busy."""
    wanted = placement_group([{"CPU": config.threads}] * config.num_workers)
    try:
        if not wanted.wait(WAIT_SECONDS):
            raise _busy(config)
    finally:
        remove_placement_group(wanted)


def _busy(config: RankerConfig) -> ConfigError:
    free = ray.available_resources().get("CPU", 0)  # type: ignore[no-untyped-call]
    return ConfigError(f"{_asked(config)}; {_there()}, of which {free:g} were free after {WAIT_SECONDS:.0f} s")


def _attend(function: Callable[..., Any], config: RankerConfig, *arguments: Any) -> Any:
    """Run what starts the workers in a process of its own, on this node, and see that they have CPUs.

    Both libraries change the process that calls them (signal handlers, forks, variables) and wait for CPUs without end.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    once: Any = ray.remote(max_calls=1)
    task = once(function).options(name="train the ranker", num_cpus=0, max_retries=0, scheduling_strategy=here)
    running = task.remote(config, *arguments)
    last_room = monotonic()
    while not ray.wait([running], timeout=1)[0]:
        last_room = monotonic() if _room(config) >= config.num_workers else last_room
        if monotonic() - last_room > WAIT_SECONDS:
            ray.cancel(running, force=True)
            raise ConfigError(f"nodes were lost during training: {_asked(config)}; {_there()}")
    try:
        return ray.get(running)
    except RayTaskError as error:
        if isinstance(error.cause, ControllerError | TimeoutError):
            raise _busy(config) from error
        raise ModelError(f"ranker: {config.num_workers} workers could not train it: {_root(error)}") from error
    except RayError as error:
        raise ModelError(f"ranker: the process that leads its {config.num_workers} workers died: {error}") from error


def _root(error: BaseException) -> str:
    """The last line of what is at the bottom of an error."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


@dataclass(frozen=True, slots=True)
class _Job:
    """What each of LightGBM's workers gets: references to its rows and to those that all have."""

    shares: "list[ray.ObjectRef[list[RankingData]]]"
    valid: "ray.ObjectRef[RankingData | None]"
    feature_names: list[str]
    categorical: list[str]
    config: RankerConfig
    n_trees: int | None
    callbacks: list[Callable[..., Any]]


def _grow_lightgbm(data: TrainingSet, config: RankerConfig, n_trees: int | None, folder: File) -> tuple[str, float]:
    valid = data.valid if n_trees is None else None
    job = _Job(
        [ray.put(share) for share in shares(data.parts, config.num_workers)],
        ray.put(valid),
        data.feature_names,
        data.categorical,
        config,
        n_trees,
        [] if valid is None else [lightgbm_ranker.stopping(config)],
    )
    return _attend(_lead_lightgbm, config, job, folder)


class _Trainer(LightGBMTrainer):
    """Without Ray Train's guard of the workers' CPUs, which go with the trainer's process anyway: where a machine runs
    several clusters it asks the newest, and takes the CPUs from a training that this one does not know.
    """

    def _create_default_callbacks(self) -> list[Any]:
        given = super()._create_default_callbacks()
        return [callback for callback in given if not isinstance(callback, PlacementGroupCleanerCallback)]


def _lead_lightgbm(config: RankerConfig, job: _Job, folder: File) -> tuple[str, float]:
    # Twice, since workers may also die while they start.
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(WAIT_SECONDS / 2)
    trainer = _Trainer(
        _lightgbm_worker,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=config.num_workers, resources_per_worker={"CPU": config.threads}, placement_strategy="SPREAD"
        ),
        run_config=RunConfig(
            name="ranker",
            storage_path=folder.path,
            storage_filesystem=folder.system,
            failure_config=FailureConfig(max_failures=RESTARTS, controller_failure_limit=1),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    result: Any = trainer.fit()
    return result.return_value


def _lightgbm_worker(settings: dict[str, _Job]) -> tuple[str, float]:
    """Runs in each worker."""
    job = settings["job"]
    rank = ray.train.get_context().get_world_rank()
    parts, valid = ray.get([job.shares[rank], job.valid])
    data = TrainingSet(parts, valid, job.feature_names, job.categorical, whole=False)
    network = get_network_params()
    return lightgbm_ranker.train_share(data, job.config, network, n_trees=job.n_trees, callbacks=job.callbacks)


class _Shards(xgboost_ray.RayDMatrix):  # type: ignore[misc]
    """Parquet shards, one for each actor. Of their feature types xgboost_ray itself makes nothing."""

    def update_matrix_properties(self, matrix: Any) -> None:
        matrix.feature_types = self.feature_types


def _grow_xgboost(data: TrainingSet, config: RankerConfig, n_trees: int | None, folder: File) -> tuple[str, float]:
    stops = data.valid is not None and n_trees is None
    tables = xgboost_ranker.category_tables(data)
    rows = {"train": data.parts, **({"valid": [data.valid]} if stops and data.valid is not None else {})}
    shards = {
        name: [
            _write_shard(_inside(folder, f"{name}-{number}.parquet"), share, data.feature_names, tables, config)
            for number, share in enumerate(shares([_judged(part) for part in parts], config.num_workers))
        ]
        for name, parts in rows.items()
    }
    settings = xgboost_ranker.parameters(config, xgboost_ranker.leaf_weight(data, config))
    callbacks = [xgboost_ranker.stopping(config)] if stops else []
    types = xgboost_ranker.feature_types(data)
    grown, ndcg = _attend(_lead_xgboost, config, settings, shards, folder, types, n_trees, callbacks)
    ranker = xgboost_ranker.finished(xgboost_ranker.booster_of(grown), xgboost_ranker.known_categories(data), config)
    return ranker.to_text(), ndcg


def _lead_xgboost(
    config: RankerConfig,
    settings: dict[str, Any],
    shards: dict[str, list[str]],
    folder: File,
    types: list[str],
    n_trees: int | None,
    callbacks: list[Any],
) -> tuple[bytes, float]:
    os.environ["RXGB_PLACEMENT_GROUP_TIMEOUT_S"] = str(int(WAIT_SECONDS))
    sets = {
        name: _Shards(files, label=LABEL, qid=QID, feature_types=types, filesystem=folder.system)
        for name, files in shards.items()
    }
    booster = xgboost_ray.train(
        settings,
        sets["train"],
        n_trees or config.max_trees,
        evals=[(rows, xgboost_ranker.VALID) for name, rows in sets.items() if name == "valid"],
        callbacks=callbacks,
        verbose_eval=False,
        ray_params=xgboost_ray.RayParams(
            num_actors=config.num_workers,
            cpus_per_actor=config.threads,
            max_actor_restarts=RESTARTS,
            checkpoint_frequency=CHECKPOINT_TREES,
            verbose=False,
        ),
    )
    return bytes(booster.save_raw("json")), float(booster.attr(xgboost_ranker.BEST_SCORE) or "nan")


def _judged(part: RankingData) -> RankingData:
    """Without query groups that weigh nothing: xgboost_ray takes no weights beside query groups."""
    if part.weights is None:
        return part
    kept = np.repeat(np.add.reduceat(part.weights, np.cumsum(part.groups) - part.groups) > 0, part.groups)
    if (part.weights[kept] != 1).any():
        raise ModelError("ranker: with backend xgboost and several workers a query group weighs 0 or 1")
    groups = part.groups[kept[np.cumsum(part.groups) - 1]]
    return RankingData(part.features[kept], part.labels[kept], groups)


def _write_shard(
    file: File, share: Sequence[RankingData], names: Sequence[str], tables: dict[int, np.ndarray], config: RankerConfig
) -> str:
    """One Parquet file, part after part: features, LABEL and QID; returns its path in the file's system."""
    fields = [*((name, pa.float32()) for name in names), (LABEL, pa.float32()), (QID, pa.int64())]
    with pq.ParquetWriter(file.path, pa.schema(fields), filesystem=file.system, compression="none") as writer:
        first = 0
        for part in share:
            features = xgboost_ranker.with_missing(part.features, tables)
            groups = np.repeat(np.arange(first, first + len(part.groups)), part.groups)
            columns = [*features.T, xgboost_ranker.labels(part, config), groups]
            writer.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], schema=writer.schema))
            first += len(part.groups)
    return file.path


def _inside(folder: File, name: str) -> File:
    return replace(folder, address=f"{folder.address}/{name}", path=f"{folder.path}/{name}")
