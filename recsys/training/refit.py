"""The selected rankers trained again on more data: up to the test window, or on every event."""

from collections.abc import Sequence
from dataclasses import dataclass

import ray

from recsys.errors import ModelError
from recsys.models.blend import score_drift
from recsys.models.rankers.registry import Ranker
from recsys.models.rankers.rows import TrainingSet
from recsys.training.context import Context
from recsys.training.distributed.launch import fit_ranker
from recsys.training.preparation import RankerInputs
from recsys.training.ranker import SelectedRanker, SelectedRankers
from recsys.training.validation import Validation, training_set


@dataclass(frozen=True, slots=True)
class FinalRankers:
    """The rankers that are published, trained on every event.

    drift: how far the refit moved the calibrated scores of the ranker of all items, see `score_drift`
    discovery: the ranker of items new to the user; None if the ranker of all items serves them
    """

    all_items: Ranker
    drift: float
    discovery: Ranker | None


def refit_rankers(context: Context, inputs: RankerInputs, selected: SelectedRankers) -> FinalRankers:
    """The selected rankers trained on every event; raises ModelError as `check_drift` does."""
    ranker, drift = refit_on_all(context, inputs, selected.all_items)
    discovery = selected.discovery
    if discovery is None:
        return FinalRankers(ranker, drift, None)
    return FinalRankers(ranker, drift, refit_on_all(context, discovery.inputs, discovery.selected)[0])


def refit_on_all(context: Context, inputs: RankerInputs, selected: SelectedRanker) -> tuple[Ranker, float]:
    """A ranker trained on the rows of every cut, and the drift of its scores."""
    data = training_set(inputs.rows(tuple(inputs.examples)), None, context.config.inference.features)
    ranker = refit(context, data, selected, context.config.seed)
    return ranker, check_drift(ranker, selected, ray.get(inputs.validation), context.config.hybrid.max_drift)


def refit_before_test(
    context: Context, inputs: RankerInputs, selected: SelectedRanker, n_seeds: int
) -> Sequence[Ranker]:
    """One ranker for each seed, trained on the rows of the cuts whose label windows end before the test window."""
    plan = inputs.plan
    data = training_set(inputs.rows((plan.validation, *plan.train)), None, context.config.inference.features)
    return [refit(context, data, selected, context.config.seed + seed) for seed in range(n_seeds)]


def refit(context: Context, data: TrainingSet, selected: SelectedRanker, seed: int) -> Ranker:
    """A ranker of the selected size."""
    settings = context.config.ranker.model_copy(update={"seed": seed, "num_leaves": selected.leaves})
    return fit_ranker(data, settings, n_trees=selected.n_trees, work=context.work)


def check_drift(ranker: Ranker, selected: SelectedRanker, validation: Validation, limit: float) -> float:
    """The drift of the calibrated scores of the validation rows; raises ModelError if it is above the limit."""
    drift = score_drift(selected.blend.lgb, selected.scores, ranker.predict(validation.rows.features))
    if drift > limit:
        raise ModelError(
            f"the refitted ranker's calibrated scores moved by {drift:.3f}, more than hybrid.max_drift = {limit}: "
            "the calibration would no longer hold"
        )
    return drift
