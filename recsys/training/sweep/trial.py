"""One trial of a sweep, in a process that Ray Tune started, and the data that trials share."""

import ctypes
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
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
from recsys.models.rankers.base import RankingData, TrainingSet
from recsys.training.plan import make_plan
from recsys.training.preparation import RankerInputs, TableRefs, prepare
from recsys.training.sweep.config import SweepConfig
from recsys.training.validation import Validation, fit, read_blend, training_set

KEPT: Final = 2
"""Prepared data sets that a sweep over their settings holds at a time."""
RETRIES: Final = 3
"""Times that a trial starts again after its process or node died."""
NOTHING: Final = -1.0
"""The metric of a trial whose settings cannot be trained with."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every trial gets."""

    config: TrainConfig
    sweep: SweepConfig
    inputs: RankerInputs
    preparer: Any
    shop: "ray.ObjectRef[ShopData] | None"

    def data(self, config: TrainConfig) -> RankerInputs:
        """What the ranker learns from with these settings."""
        if self.preparer is None:
            return self.inputs
        # References, so that an actor that was restarted gets them as well.
        return ray.get(self.preparer.prepare.remote([self.shop], self.config, self.inputs, config))


def run_trial(point: Mapping[str, Any], job: Job) -> None:
    """One trial, in a process that Ray Tune started: reports to it."""
    metric = job.sweep.metric
    grown = 0

    def report(scores: Any, trees: int, *, final: bool) -> None:
        blend, curve = read_blend(validation, scores, config, metric)
        tune.report(
            {
                metric: curve[blend.alpha],
                "grown": grown,
                "trees": trees,
                "alpha": blend.alpha,
                "curve": {str(alpha): value for alpha, value in curve.items()},
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
        rows = tuple(inputs.examples[age] for age in inputs.plan.train)
        shared = _opened(rows, inputs.validation, config.inference.features)
        validation = shared.validation
        key = config.model_copy(update={"hybrid": job.config.hybrid}).model_dump_json()
        if shared.fitted is None or shared.fitted.key != key:
            found = fit(shared.data, validation, config, watch)
            shared.fitted = _Fitted(key, found.ranker.n_trees, found.scores)
        report(shared.fitted.scores, shared.fitted.n_trees, final=True)
    except RecsysError as error:  # of these settings: another try would come to the same
        tune.report({metric: NOTHING, "grown": grown, "trees": 0, "final": True, "error": str(error)})
    finally:
        _give_back()


def _give_back() -> None:
    """Freed memory to the system: glibc keeps it for a process, and in many pieces, so that trials add up."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own
    if trim is not None:
        trim(0)


@dataclass(slots=True)
class _Fitted:
    """What the last ranker came to, for trials that differ in alpha alone."""

    key: str
    n_trees: int
    scores: np.ndarray


@dataclass(slots=True)
class _Shared:
    """What the trials of a process share: rows that lie in Ray's object store, binned once."""

    data: TrainingSet
    validation: Validation
    fitted: _Fitted | None = None


@lru_cache(maxsize=1)
def _opened(
    rows: "tuple[ray.ObjectRef[RankingData], ...]",
    validation: "ray.ObjectRef[Validation]",
    features: tuple[Feature, ...],
) -> _Shared:
    found = ray.get(validation)
    return _Shared(training_set(ray.get(list(rows)), found, features), found)


class _Preparer:
    """Prepares data for settings of the factorization and the examples, each combination once while it is in use."""

    def __init__(self) -> None:
        self._prepared: OrderedDict[str, RankerInputs] = OrderedDict()
        self._tables: OrderedDict[str, TableRefs] = OrderedDict()

    def prepare(
        self, shop: "list[ray.ObjectRef[ShopData]]", start: TrainConfig, there: RankerInputs, config: TrainConfig
    ) -> RankerInputs:
        """For `config`; `there` is what there is for the config `start`. shop: one reference to it"""
        if _data_key(config) == _data_key(start):
            return there
        found, key = ray.get(shop[0]), _data_key(config)
        if key not in self._prepared:
            ages = make_plan(found.start, found.end, config).tables
            tables_key, known = _tables_key(config, ages), _tables_key(start, there.plan.tables)
            tables = there.tables if tables_key == known else self._tables.get(tables_key)
            inputs = prepare(found, config, tables)
            _keep(self._tables, tables_key, inputs.tables)
            _keep(self._prepared, key, inputs)
        self._prepared.move_to_end(key)
        return self._prepared[key]


def _keep(kept: OrderedDict[str, Any], key: str, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > KEPT:
        kept.popitem(last=False)


def _data_key(config: TrainConfig) -> str:
    """The settings that the ranker's rows depend on."""
    defaults = TrainConfig()
    return config.model_copy(update={"ranker": defaults.ranker, "hybrid": defaults.hybrid}).model_dump_json()


def _tables_key(config: TrainConfig, ages: Sequence[int]) -> str:
    """What the tables depend on."""
    return f"{_data_key(config.model_copy(update={'examples': TrainConfig().examples}))} {sorted(ages)}"


def start_preparer() -> Any:
    """An actor that prepares data for trials; it starts again where its node dies."""
    actor: Any = ray.remote(_Preparer).options(num_cpus=0, max_restarts=RETRIES, max_task_retries=RETRIES)
    return actor.remote()
