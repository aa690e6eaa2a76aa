"""The ranker trained by several workers on Ray, in one place for both libraries.

Query groups are dealt out whole. A worker that dies starts again, and nothing waits for CPUs longer than a minute.
"""

import uuid
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError
from ray.train.v2.api.exceptions import ControllerError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from recsys.cluster import free_cpus, node_cpus
from recsys.errors import ConfigError, ModelError, last_line
from recsys.models.rankers.base import Ranker, RankerConfig, TrainingSet, Watch
from recsys.models.rankers.registry import ranker_from_text, train
from recsys.storage.filesystem import file_at
from recsys.training.distributed.shards import WAIT_SECONDS


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
    check_cpus(config)
    _wait_for_cpus(config)
    folder = file_at(f"{work}/ranker-{uuid.uuid4().hex}")
    folder.system.create_dir(folder.path)
    try:
        module = _module(config.backend)
        text, ndcg = _attend(module.lead, module.prepare(data, config, n_trees, folder), config)
    finally:
        folder.system.delete_dir(folder.path)
    ranker = ranker_from_text(text, config.backend, config.threads)
    if watch is not None:
        valid = data.valid
        watch(ranker.n_trees, ndcg, lambda: np.zeros(0) if valid is None else ranker.predict(valid.features))
    return ranker


def _module(backend: str) -> ModuleType:
    """What stands for a library, loaded at its first use."""
    if backend == "xgboost":
        from recsys.training.distributed import xgboost as xgboost_workers  # noqa: PLC0415

        return xgboost_workers
    from recsys.training.distributed import lightgbm as lightgbm_workers  # noqa: PLC0415

    return lightgbm_workers


def check_cpus(config: RankerConfig) -> None:
    """Raises ConfigError where the cluster has no room for several workers; nothing else of the run is beside them."""
    if config.num_workers > 1 and _room(config) < config.num_workers:
        raise ConfigError(f"{_asked(config)}; {_there()}")


def _room(config: RankerConfig) -> int:
    """Workers for which the cluster has CPUs, used or not."""
    return sum(int(cpus // config.threads) for cpus in node_cpus())


def _asked(config: RankerConfig) -> str:
    n, threads = config.num_workers, config.threads
    return f"ranker.num_workers={n} and ranker.threads={threads} ask for {n * threads} CPUs, {threads} a worker"


def _there() -> str:
    cpus = node_cpus()
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
    return ConfigError(f"{_asked(config)}; {_there()}, of which {free_cpus():g} were free after {WAIT_SECONDS:.0f} s")


def _attend(lead: Callable[[Any], tuple[str, float]], job: Any, config: RankerConfig) -> tuple[str, float]:
    """Run what starts the workers in a process of its own, on this node, and see that they have CPUs.

    Both libraries change the process that calls them (signal handlers, forks, variables) and wait for CPUs without end.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    once: Any = ray.remote(max_calls=1)
    task = once(lead).options(name="train the ranker", num_cpus=0, max_retries=0, scheduling_strategy=here)
    running = task.remote(job)
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
        raise ModelError(f"ranker: {config.num_workers} workers could not train it: {last_line(error)}") from error
    except RayError as error:
        raise ModelError(f"ranker: the process that leads its {config.num_workers} workers died: {error}") from error
