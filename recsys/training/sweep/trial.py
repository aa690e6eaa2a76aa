"""One trial of a sweep, in a process that Ray Tune started, and the data that its process keeps for the next one."""

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import ray
from ray import tune

from recsys.config import TrainConfig, changed
from recsys.data.ingest import ShopData
from recsys.errors import RecsysError
from recsys.features.definitions import Feature
from recsys.models.rankers.rows import RankingData, TrainingSet
from recsys.training.preparation import RankerInputs
from recsys.training.ranker import fit_smallest
from recsys.training.sweep.config import SweepConfig
from recsys.training.sweep.preparer import Preparer
from recsys.training.sweep.result import NEW_ITEMS
from recsys.training.validation import Validation, choose_blend, training_set

RETRIES: Final = 3
"""Times that a trial starts again after its process or node died."""
NOTHING: Final = -1.0
"""The metric of a trial whose training failed."""


@dataclass(frozen=True, slots=True)
class Job:
    """The data and settings that every trial of a sweep gets.

    config, inputs: those of the start of the sweep
    preparer: the actor that prepares data for other settings, None if all trials share the inputs
    """

    config: TrainConfig
    sweep: SweepConfig
    inputs: RankerInputs
    preparer: Any
    shop: "ray.ObjectRef[ShopData] | None"

    def data(self, config: TrainConfig) -> RankerInputs:
        """The ranker's inputs with these settings."""
        if self.preparer is None:
            return self.inputs
        # References in every call, so that an actor that was restarted gets them as well.
        return ray.get(self.preparer.prepare.remote([self.shop], self.config, self.inputs, config))


def run_trial(point: Mapping[str, Any], job: Job) -> None:
    """Train with the settings of a point and report to Ray Tune; point: values by `section.key`."""
    metric = job.sweep.metric
    grown = 0

    def report(scores: Any, trees: int, *, final: bool) -> None:
        blend, curves = choose_blend(validation, scores, config, metric)
        tune.report(
            {
                metric: curves.all_items[blend.alpha],
                NEW_ITEMS: curves.discovery.get(blend.alpha),
                "grown": grown,
                "trees": trees,
                "alpha": blend.alpha,
                "curve": {str(alpha): value for alpha, value in curves.all_items.items()},
                "final": final,
            }
        )

    def watch(trees: int, _: float, scores: Callable[[], Any]) -> None:
        nonlocal grown
        grown = trees
        if trees % job.sweep.report_every == 0:
            report(scores(), trees, final=False)

    try:
        config = changed(job.config, point)
        inputs = job.data(config)
        rows = tuple(inputs.examples[cut] for cut in inputs.plan.train)
        kept = _kept(rows, inputs.validation, config.inference.features)
        validation = kept.validation
        key = config.model_copy(update={"hybrid": job.config.hybrid}).model_dump_json()
        if kept.last is None or kept.last.key != key:
            fitted = fit_smallest(kept.data, validation, config, work=None, watch=watch)
            kept.last = _LastRanker(key, fitted.ranker.n_trees, fitted.scores)
        report(kept.last.scores, kept.last.n_trees, final=True)
    except RecsysError as error:  # another try with these settings would fail the same way
        tune.report({metric: NOTHING, "grown": grown, "trees": 0, "final": True, "error": str(error)})
    finally:
        _return_memory()


def _return_memory() -> None:
    """Return freed memory to the system: glibc keeps it for the process, so that the memory of trials adds up."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)


@dataclass(slots=True)
class _LastRanker:
    """The last ranker of this process, for trials that differ in alpha only; key: its settings."""

    key: str
    n_trees: int
    scores: np.ndarray


@dataclass(slots=True)
class _Kept:
    """The data that the trials of one process share: rows in Ray's object store, binned once, and the last ranker."""

    data: TrainingSet
    validation: Validation
    last: _LastRanker | None = None


@lru_cache(maxsize=1)
def _kept(
    rows: "tuple[ray.ObjectRef[RankingData], ...]",
    validation_ref: "ray.ObjectRef[Validation]",
    features: tuple[Feature, ...],
) -> _Kept:
    validation = ray.get(validation_ref)
    return _Kept(training_set(ray.get(list(rows)), validation.rows, features), validation)


def start_preparer() -> Any:
    """An actor that prepares data for trials; it starts again if its node dies."""
    actor: Any = ray.remote(Preparer).options(num_cpus=0, max_restarts=RETRIES, max_task_retries=RETRIES)
    return actor.remote()
