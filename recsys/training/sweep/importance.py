"""The importance of the settings that a sweep searched."""

import json
from typing import Any, Final

import optuna

from recsys.training.sweep.config import Range, is_whole
from recsys.training.sweep.result import SweepResult

ENOUGH_TRIALS: Final = 4
"""Trials that an estimate needs."""


def setting_importance(sweep: SweepResult) -> dict[str, float]:
    """Fraction of the metric's variance over the trials that each setting explains (fANOVA, Hutter et al. 2014).

    Empty where there are too few trials, or where the metric is the same for all.
    """
    measured = [trial for trial in sweep.trials if trial.metric is not None]
    if len(measured) < ENOUGH_TRIALS or len({trial.metric for trial in measured}) == 1:
        return {}
    study = optuna.create_study(direction="maximize")
    space = {key: _distribution(key, values) for key, values in sweep.sweep.search.items()}
    for trial in measured:
        point = {key: _as_drawn(value, space[key]) for key, value in trial.settings.items()}
        study.add_trial(optuna.trial.create_trial(params=point, distributions=space, value=trial.metric))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    importance = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(value) for key, value in importance.items()}


def _distribution(key: str, space: Any) -> optuna.distributions.BaseDistribution:
    """space: a Range, or a list of values, whose JSON texts become optuna's categories."""
    if not isinstance(space, Range):
        return optuna.distributions.CategoricalDistribution([json.dumps(value) for value in space])
    if is_whole(key):
        return optuna.distributions.IntDistribution(int(space.low), int(space.high), log=space.log)
    return optuna.distributions.FloatDistribution(space.low, space.high, log=space.log)


def _as_drawn(value: Any, distribution: optuna.distributions.BaseDistribution) -> Any:
    """A setting as a value of its distribution."""
    return json.dumps(value) if isinstance(distribution, optuna.distributions.CategoricalDistribution) else value
