"""A sweep for people: its table, what mattered, and a picture, as files of the bundle."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import optuna

from recsys.training.sweep import Range, is_whole
from recsys.training.tuning import Swept

TABLE: Final = "sweep.json"
PICTURE: Final = "sweep.png"
FEW: Final = 4
"""Trials below which the importance of a setting is not estimated."""
COLOURS: Final = {"finished": "tab:blue", "stopped": "tab:orange", "failed": "tab:red"}


def sweep_files(swept: Swept) -> dict[str, str | bytes]:
    """The sweep as files of a bundle: settings, trials and importance as JSON, and the picture."""
    importance = setting_importance(swept)
    content = {
        "config": swept.sweep.model_dump(mode="json"),
        "best": asdict(swept.best),
        "importance": importance,
        "trials": [asdict(trial) for trial in swept.trials],
    }
    return {TABLE: json.dumps(content, indent=1, allow_nan=False), PICTURE: _picture(swept, importance)}


def setting_importance(swept: Swept) -> dict[str, float]:
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


def _picture(swept: Swept, importance: Mapping[str, float]) -> bytes:
    """PNG: the metric over the trials, its growth with the trees, what mattered, and the alpha curve of the best."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - importing it makes folders in the home folder

    figure = Figure(figsize=(12, 8), layout="constrained")
    (over_trials, over_trees), (bars, over_alpha) = figure.subplots(2, 2)
    metric, best = swept.sweep.metric, swept.best
    for status, colour in COLOURS.items():
        points = [(t.number, t.metric) for t in swept.trials if t.status == status and t.metric is not None]
        if points:
            over_trials.scatter(*zip(*points, strict=True), color=colour, label=status)
    numbers = [trial.number for trial in swept.trials]
    so_far = np.maximum.accumulate([-1.0 if trial.metric is None else trial.metric for trial in swept.trials])
    shown = so_far >= 0
    over_trials.step(np.array(numbers)[shown], so_far[shown], where="post", color="grey", label="best so far")
    over_trials.set(title="Trials", xlabel="trial", ylabel=f"validation {metric}")
    over_trials.legend()
    for trial in swept.trials:
        if trial.history:
            width, colour = (2.5, "black") if trial is best else (0.8, COLOURS[trial.status])
            over_trees.plot(*zip(*trial.history, strict=True), color=colour, linewidth=width)
    over_trees.set(title="Reports while boosting (the best in black)", xlabel="trees", ylabel=f"validation {metric}")
    names = list(importance)[::-1]
    bars.barh(names, [importance[name] for name in names])
    bars.set(title="Importance of the settings" if names else "Importance: too few trials", xlabel="share of variance")
    alphas = sorted((best.curve or {}).items(), key=lambda point: float(point[0]))
    over_alpha.plot([float(alpha) for alpha, _ in alphas], [value for _, value in alphas], marker="o")
    over_alpha.axvline(best.alpha or 0.0, color="grey", linestyle=":")
    over_alpha.set(title=f"Alpha of the best trial: {best.alpha}", xlabel="alpha", ylabel=f"validation {metric}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
