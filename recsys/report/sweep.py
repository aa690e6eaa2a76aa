"""A sweep for people: its table, what mattered, and a picture, as files of the bundle."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import optuna

from recsys.report import content
from recsys.report.drawing import Picture, png
from recsys.report.part_reasons import sweep_panels
from recsys.training.sweep.config import Range, is_whole
from recsys.training.sweep.result import SweepResult

TABLE: Final = "sweep.json"
PICTURE: Final = "sweep.png"
FEW: Final = 4
"""Trials below which the importance of a setting is not estimated."""
MOST_TRIALS: Final = 200
"""In a report."""


def sweep_files(swept: SweepResult) -> dict[str, str | bytes]:
    """The sweep as files of a bundle: settings, trials and importance as JSON, and the picture."""
    importance = setting_importance(swept)
    found = {
        "config": swept.sweep.model_dump(mode="json"),
        "best": asdict(swept.best),
        "lead": swept.lead and swept.lead._asdict(),
        "outcome": swept.outcome,
        "adopted": swept.adopted,
        "importance": importance,
        "trials": [asdict(trial) for trial in swept.trials],
    }
    drawn = sweep_of(found)
    picture = Picture("sweep", "", "", lambda figure: sweep_panels(figure, drawn), 8, 12)
    return {TABLE: json.dumps(found, indent=1, allow_nan=False), PICTURE: png(picture)}


def setting_importance(swept: SweepResult) -> dict[str, float]:
    """Share of the metric's variance over the trials that each setting explains (fANOVA, Hutter et al. 2014).

    Empty where there are too few trials, or the metric never varies.
    """
    judged = [trial for trial in swept.trials if trial.metric is not None]
    if len(judged) < FEW or len({trial.metric for trial in judged}) == 1:
        return {}
    study = optuna.create_study(direction="maximize")
    space = {key: _distribution(key, values) for key, values in swept.sweep.search.items()}
    for trial in judged:
        point = {key: _written(value, space[key]) for key, value in trial.settings.items()}
        study.add_trial(optuna.trial.create_trial(params=point, distributions=space, value=trial.metric))
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )
    return {key: float(value) for key, value in found.items()}


def _distribution(key: str, space: Any) -> optuna.distributions.BaseDistribution:
    if not isinstance(space, Range):
        return optuna.distributions.CategoricalDistribution([json.dumps(value) for value in space])
    if is_whole(key):
        return optuna.distributions.IntDistribution(int(space.low), int(space.high), log=space.log)
    return optuna.distributions.FloatDistribution(space.low, space.high, log=space.log)


def _written(value: Any, distribution: optuna.distributions.BaseDistribution) -> Any:
    return json.dumps(value) if isinstance(distribution, optuna.distributions.CategoricalDistribution) else value


def sweep_of(found: Mapping[str, Any]) -> content.Sweep:
    """What a report holds of a sweep; found: as in sweep.json"""
    trials, best = found["trials"], found["best"]
    judged = sorted(trials, key=lambda trial: -1.0 if trial["metric"] is None else trial["metric"], reverse=True)
    kept = sorted(judged[:MOST_TRIALS], key=lambda trial: trial["number"])
    curve = sorted((float(alpha), value) for alpha, value in (best["curve"] or {}).items())
    names = ("number", "status", "metric", "trees", "alpha", "settings", "history")
    return content.Sweep(
        metric=found["config"]["metric"],
        best=best["number"],
        outcome=found["outcome"],
        importance=found["importance"],
        curve=tuple(content.Point(alpha=alpha, metric=value) for alpha, value in curve),
        trials=tuple(content.Trial(**{name: trial[name] for name in names}) for trial in kept),
        more=len(trials) - len(kept),
    )
