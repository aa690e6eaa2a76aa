"""The selected rankers trained again on more data: up to the test window, or on every event."""

from collections.abc import Sequence
from dataclasses import dataclass

import ray

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
    discovery_drift: as `drift`, of that ranker
    """

    all_items: Ranker
    drift: float
    discovery: Ranker | None
    discovery_drift: float | None = None

    def warnings(self, limit: float) -> tuple[str, ...]:
        """A sentence for each ranker whose drift is above the limit."""
        drifts = (("the ranker", self.drift), ("the ranker of new items", self.discovery_drift))
        return tuple(
            f"the refit on every event moved the calibrated scores of {name} by {drift:.3f}, more than "
            f"hybrid.max_drift = {limit:g}: with few users, scores of the published version are less certain"
            for name, drift in drifts
            if drift is not None and drift > limit
        )


def refit_rankers(context: Context, inputs: RankerInputs, selected: SelectedRankers) -> FinalRankers:
    """The selected rankers trained on every event."""
    ranker, drift = refit_on_all(context, inputs, selected.all_items)
    discovery = selected.discovery
    if discovery is None:
        return FinalRankers(ranker, drift, None)
    return FinalRankers(ranker, drift, *refit_on_all(context, discovery.inputs, discovery.selected))


def refit_on_all(context: Context, inputs: RankerInputs, selected: SelectedRanker) -> tuple[Ranker, float]:
    """A ranker trained on the rows of every cut, and the drift of its scores."""
    rows, features = inputs.rows(tuple(inputs.examples)), context.config.inference.features
    data = training_set(rows, None, features, selected.left_out)
    ranker = refit(context, data, selected, context.config.seed)
    return ranker, drift_of(ranker, selected, ray.get(inputs.validation))


def refit_before_test(
    context: Context, inputs: RankerInputs, selected: SelectedRanker, n_seeds: int
) -> Sequence[Ranker]:
    """One ranker for each seed, trained on the rows of the cuts whose label windows end before the test window."""
    plan = inputs.plan
    rows, features = inputs.rows((plan.validation, *plan.train)), context.config.inference.features
    data = training_set(rows, None, features, selected.left_out)
    return [refit(context, data, selected, context.config.seed + seed) for seed in range(n_seeds)]


def refit(context: Context, data: TrainingSet, selected: SelectedRanker, seed: int) -> Ranker:
    """A ranker of the selected size."""
    settings = context.config.ranker.model_copy(update={"seed": seed, "num_leaves": selected.leaves})
    return fit_ranker(data, settings, n_trees=selected.n_trees, work=context.work)


def drift_of(ranker: Ranker, selected: SelectedRanker, validation: Validation) -> float:
    """The drift of the calibrated scores of the validation rows from the selected to the refitted ranker."""
    return score_drift(selected.blend.lgb, selected.scores, ranker.predict(validation.rows.features))
