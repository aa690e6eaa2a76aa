"""Rankers of several sizes, trained up to the validation window, and the selection of one of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import ray

from recsys import console
from recsys.config import TrainConfig
from recsys.errors import TooLittleData
from recsys.evaluation.metrics import Difference, paired_difference
from recsys.models.blend import AlphaCurves, Blend
from recsys.models.rankers.registry import Ranker
from recsys.models.rankers.rows import TrainingSet, Watch
from recsys.training.context import Context
from recsys.training.distributed.launch import fit_ranker
from recsys.training.preparation import RankerInputs
from recsys.training.validation import Validation, blended_metric_by_user, choose_blend, metric_of, training_set

EVERY: Final = 5
"""Number of trees between two compared sizes of a ranker."""


class Size(NamedTuple):
    """A size of a ranker and its metric on the validation window; leaves: largest number in a tree."""

    trees: int
    leaves: int
    metric: float


@dataclass(frozen=True, slots=True)
class FittedRanker:
    """A ranker trained up to the validation window.

    leaves: largest number in a tree
    sizes: all sizes that were compared
    scores: its raw scores of the validation rows, float64 (n_rows,)
    """

    ranker: Ranker
    leaves: int
    sizes: Sequence[Size]
    scores: np.ndarray


@dataclass(frozen=True, slots=True)
class SelectedRanker:
    """A fitted ranker with its blend. Every refit keeps this size and this blend.

    ranker, leaves, sizes, scores: see FittedRanker
    curves: the validation metrics by alpha
    left_out: the features that it may not use
    """

    ranker: Ranker
    leaves: int
    sizes: Sequence[Size]
    blend: Blend
    curves: AlphaCurves
    scores: np.ndarray
    left_out: tuple[str, ...] = ()

    @property
    def n_trees(self) -> int:
        """Trees of the ranker."""
        return self.ranker.n_trees

    @property
    def metric(self) -> float:
        """The blend's metric on the validation window."""
        return self.curves.all_items[self.blend.alpha]


@dataclass(frozen=True, slots=True)
class DiscoveryRanker:
    """The ranker trained for items that are new to the user.

    lead: NDCG@k of its blend minus that of the ranker of all items on the validation window, paired by user
    """

    inputs: RankerInputs
    selected: SelectedRanker
    lead: Difference

    @property
    def adopted(self) -> bool:
        """Whether this ranker serves items new to the user: its lead is significant."""
        return self.lead.low > 0


@dataclass(frozen=True, slots=True)
class SelectedRankers:
    """The ranker of all items, and the ranker trained for discovery; None if there was nothing to learn."""

    all_items: SelectedRanker
    trained_for_discovery: DiscoveryRanker | None

    @property
    def discovery(self) -> DiscoveryRanker | None:
        """The ranker that serves items new to the user; None if the ranker of all items serves them."""
        trained = self.trained_for_discovery
        return trained if trained is not None and trained.adopted else None

    @property
    def discovery_alpha(self) -> float:
        """The weight of the factorization for items new to the user, whichever ranker serves them."""
        selected = self.all_items if self.discovery is None else self.discovery.selected
        return selected.blend.alpha


def select_rankers(context: Context, inputs: RankerInputs) -> SelectedRankers:
    """The ranker of all items, and the ranker of items new to the user.

    The second is adopted only if its lead on the validation window is significant (the paired interval is above zero).
    The comparison favours it: its size was selected on the same users, that of the ranker of all items was not.
    Raises TooLittleData if the ranker of all items tells no candidate from another.
    """
    all_items = select_by_attributes(context, inputs)
    if not np.ptp(all_items.scores):
        n_rows = sum(len(rows.labels) for rows in inputs.rows(inputs.plan.train))
        raise TooLittleData(
            f"the ranker scores all candidates alike: {n_rows:,} training rows gave no split with "
            f"ranker.min_child_samples = {context.config.ranker.min_child_samples}"
        )
    if inputs.discovery is None:
        return SelectedRankers(all_items, None)
    selected = select_ranker(context, inputs.discovery)
    lead = discovery_lead(ray.get(inputs.discovery.validation), selected, all_items, context.config)
    return SelectedRankers(all_items, DiscoveryRanker(inputs.discovery, selected, lead))


def select_by_attributes(context: Context, inputs: RankerInputs) -> SelectedRanker:
    """The selected ranker with the features of attributes, if these bring a significant lead, else without them.

    Attributes tell most about items that few have met. In a shop that lives on repeat purchases they can dilute the
    other features.
    """
    attributes = context.config.inference.attribute_features
    plain = select_ranker(context, inputs, attributes)
    if not attributes:
        return plain
    rich = select_ranker(context, inputs)
    lead = lead_over(ray.get(inputs.validation), rich, plain, context.config)
    if lead.low > 0:
        return rich
    console.progress(
        f"the ranker of all items leaves out the {len(attributes)} features of attributes: their lead, "
        f"{lead.mean:.4f} ({lead.low:.4f} to {lead.high:.4f}), may be chance"
    )
    return plain


def select_ranker(context: Context, inputs: RankerInputs, left_out: tuple[str, ...] = ()) -> SelectedRanker:
    """The smallest ranker that is about as good as the best on the validation window, with its blend.

    left_out: the features that it may not use
    """
    validation = ray.get(inputs.validation)
    features = context.config.inference.features
    data = training_set(inputs.rows(inputs.plan.train), validation.rows, features, left_out)
    fitted = fit_smallest(data, validation, context.config, context.work)
    blend, curves = choose_blend(validation, fitted.scores, context.config)
    return SelectedRanker(fitted.ranker, fitted.leaves, fitted.sizes, blend, curves, fitted.scores, left_out)


def discovery_lead(
    validation: Validation, own: SelectedRanker, all_items: SelectedRanker, config: TrainConfig
) -> Difference:
    """NDCG@k of the discovery ranker minus that of the ranker of all items; validation: the window of new items."""
    other = replace(all_items, scores=all_items.ranker.predict(validation.rows.features))
    return lead_over(validation, own, other, config)


def lead_over(validation: Validation, own: SelectedRanker, other: SelectedRanker, config: TrainConfig) -> Difference:
    """NDCG@k of one blend minus that of another, paired by user; the scores of both are of the validation's rows."""
    metric = f"ndcg@{config.evaluation.k}"
    ours, others = (blended_metric_by_user(validation, metric, one.scores, one.blend) for one in (own, other))
    return paired_difference(ours, others, config.evaluation.resampling)


def fit_smallest(
    data: TrainingSet, validation: Validation, config: TrainConfig, work: str | Path | None, watch: Watch | None = None
) -> FittedRanker:
    """The smallest ranker that is about as good as the best, see RankerConfig.tolerance.

    For each number of leaves a ranker is trained until the validation rows stop it. The compared sizes are the first 5,
    10, 15, … trees of these rankers.
    data: with the validation's rows as `valid`; work: see `fit_ranker`
    watch: called for each tree of the ranker with the most leaves
    """
    settings = config.ranker.model_copy(update={"seed": config.seed})
    measure = metric_of(validation, f"ndcg@{config.evaluation.k}")
    fewer = {leaves for leaves in settings.fewer_leaves if leaves < settings.num_leaves}
    rankers: dict[int, Ranker] = {}
    sizes: list[Size] = []
    for leaves in (*sorted(fewer), settings.num_leaves):
        recorder = _SizeRecorder(measure, watch if leaves == settings.num_leaves else None)
        own = settings.model_copy(update={"num_leaves": leaves})
        rankers[leaves] = fit_ranker(data, own, watch=recorder, work=work)
        sizes += recorder.sizes(rankers[leaves], leaves, validation.rows.features)
    size = smallest(sizes, config.ranker.tolerance)
    ranker = rankers[size.leaves].first(size.trees)
    return FittedRanker(ranker, size.leaves, sizes, ranker.predict(validation.rows.features))


class _SizeRecorder:
    """A Watch that records the validation metric every few trees."""

    def __init__(self, measure: Callable[[np.ndarray], float], watch: Watch | None) -> None:
        """watch: called after each tree as well"""
        self._measure, self._watch = measure, watch
        self._metrics: dict[int, float] = {}

    def __call__(self, trees: int, ndcg: float, scores: Callable[[], np.ndarray]) -> None:
        if trees % EVERY == 0:
            self._metrics[trees] = self._measure(scores())
        if self._watch is not None:
            self._watch(trees, ndcg, scores)

    def sizes(self, ranker: Ranker, leaves: int, features: np.ndarray) -> list[Size]:
        """The sizes of the finished ranker; features: of the validation rows, float32 (n_rows, n_features)."""
        last = ranker.n_trees  # early stopping has removed later trees
        # With several workers, Watch is called once, at the end: the other sizes are scored here.
        for trees in {*range(EVERY, last, EVERY), last} - self._metrics.keys():
            self._metrics[trees] = self._measure(ranker.first(trees).predict(features))
        return [Size(trees, leaves, metric) for trees, metric in self._metrics.items() if trees <= last]


def smallest(sizes: Sequence[Size], tolerance: float) -> Size:
    """The size with the smallest trees * leaves among those with a metric of at least (1 - tolerance) * best metric."""
    enough = (1 - tolerance) * max(size.metric for size in sizes)
    return min((size for size in sizes if size.metric >= enough), key=lambda size: (size.trees * size.leaves, size))
