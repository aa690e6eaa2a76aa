"""Training of a ranker in this process or by several workers on Ray, for every library.

All rows of a query group go to the same worker. A worker that dies starts again. A training waits for CPUs no longer
than WAIT_SECONDS.
"""

import importlib
import uuid
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, cast

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError
from ray.train.v2.api.exceptions import ControllerError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from recsys.cluster import free_cpus, node_cpus
from recsys.errors import ConfigError, ModelError, last_line
from recsys.models.rankers.registry import RANKERS, Ranker, RankerConfig, ranker_from_text, train
from recsys.models.rankers.rows import TrainingSet, Watch
from recsys.storage.filesystem import File, file_at
from recsys.training.distributed.shards import WAIT_SECONDS


class Workers(Protocol):
    """A module that trains with several workers: `RankerBackend.distributed` names it."""

    def prepare(self, data: TrainingSet, config: RankerConfig, n_trees: int | None, folder: File) -> Any:
        """A job for `lead`, with the rows of each worker; folder: for files that the workers need."""

    def lead(self, job: Any) -> tuple[str, float]:
        """Start the workers and wait for them; the ranker's text, and its validation NDCG or NaN without such rows."""


def fit_ranker(
    data: TrainingSet,
    config: RankerConfig,
    *,
    n_trees: int | None = None,
    watch: Watch | None = None,
    work: str | Path | None,
) -> Ranker:
    """A trained ranker, see `rankers.registry.train`, from ranker.num_workers workers.

    With several workers `watch` is called once, after the last tree, with the finished ranker's scores.
    work: folder that all nodes share, or s3://bucket/prefix, for the workers' rows, which are removed in the end; None
    trains in this process whatever the number of workers
    Raises ConfigError at once if the cluster lacks the CPUs, or if they are not free within WAIT_SECONDS.
    """
    if config.num_workers == 1 or work is None:
        return train(data, config, n_trees=n_trees, watch=watch)
    data.check_grades(config.label_gain)
    check_cpus(config)
    _wait_for_cpus(config)
    folder = file_at(f"{work}/ranker-{uuid.uuid4().hex}")
    folder.system.create_dir(folder.path)
    try:
        workers = _workers(config)
        text, ndcg = run_apart(workers.lead, workers.prepare(data, config, n_trees, folder), config)
    finally:
        folder.system.delete_dir(folder.path)
    ranker = ranker_from_text(text, config.backend, config.threads)
    if watch is not None:
        valid = data.valid
        watch(ranker.n_trees, ndcg, lambda: np.zeros(0) if valid is None else ranker.predict(valid.features))
    return ranker


def _workers(config: RankerConfig) -> Workers:
    """The module of the backend, imported at its first use; raises ConfigError if it has none."""
    name = RANKERS[config.backend].distributed
    if name is None:
        raise ConfigError(
            f"ranker.backend={config.backend} cannot be trained by several workers; "
            f"found ranker.num_workers={config.num_workers}, expected 1"
        )
    return cast(Workers, importlib.import_module(name))


def check_cpus(config: RankerConfig) -> None:
    """Raises ConfigError if the cluster lacks the CPUs for several workers. A run does not use other CPUs meanwhile."""
    if config.num_workers > 1 and _room(config) < config.num_workers:
        raise ConfigError(f"{_asked(config)}; {_available()}")


def _room(config: RankerConfig) -> int:
    """Number of workers for which the cluster has CPUs, used or not."""
    return sum(int(cpus // config.threads) for cpus in node_cpus())


def _asked(config: RankerConfig) -> str:
    n, threads = config.num_workers, config.threads
    return f"ranker.num_workers={n} and ranker.threads={threads} need {n * threads} CPUs, {threads} for each worker"


def _available() -> str:
    cpus = node_cpus()
    return f"the cluster has {sum(cpus):g} on {len(cpus)} nodes, at most {max(cpus, default=0):g} on one"


def _wait_for_cpus(config: RankerConfig) -> None:
    """Raises ConfigError if other work keeps the CPUs busy."""
    wanted = placement_group([{"CPU": config.threads}] * config.num_workers)
    try:
        if not wanted.wait(WAIT_SECONDS):
            raise _busy(config)
    finally:
        remove_placement_group(wanted)


def _busy(config: RankerConfig) -> ConfigError:
    return ConfigError(
        f"{_asked(config)}; {_available()}, of which {free_cpus():g} were free after {WAIT_SECONDS:.0f} s"
    )


def run_apart(lead: Callable[[Any], tuple[str, float]], job: Any, config: RankerConfig) -> tuple[str, float]:
    """The result of `lead`, run in a process of its own on this node; it is ended if the workers lose their CPUs.

    The libraries change the process that calls them (signal handlers, forks, variables), and wait for CPUs forever.
    Raises ConfigError if nodes were lost or the CPUs were busy, ModelError if the training failed.
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
            raise ConfigError(f"nodes were lost during training: {_asked(config)}; {_available()}")
    try:
        return ray.get(running)
    except RayTaskError as error:
        if isinstance(error.cause, ControllerError | TimeoutError):
            raise _busy(config) from error
        raise ModelError(f"ranker: {config.num_workers} workers could not train it: {last_line(error)}") from error
    except RayError as error:
        raise ModelError(f"ranker: the process that leads its {config.num_workers} workers died: {error}") from error
