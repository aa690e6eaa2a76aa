"""Calibration: scores beside the fraction of hits."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from recsys.evaluation.curves import Reliability, reliability
from recsys.report.drawing import GREY, STYLES, Picture, percent, plain_axes, ticked
from recsys.report.inputs import EvaluationInputs
from recsys.report.numbers import Estimate, Floats, short
from recsys.report.section import QUALITY, Section, SectionSpec, Table
from recsys.schema import LGB_SCORE, MF_SCORE, SCORE, Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYSTEMS: Final = {SCORE: "hybrid", LGB_SCORE: "ranker alone", MF_SCORE: "factorization alone"}
"""The system that ranks by each score."""


class Calibrated(Config):
    """A score beside the fraction of hits, by bins, see `curves.Reliability`."""

    predicted: Floats
    observed: tuple[Estimate, ...]
    counts: tuple[int, ...]
    error: float


class Numbers(Config):
    """Calibration by score, for the scores that some candidate has."""

    scores: dict[str, Calibrated]


def collect(evaluation: EvaluationInputs) -> Numbers:
    scores = {}
    for name, system in SYSTEMS.items():
        values = evaluation.hybrid_scores[system]
        known = ~np.isnan(values)
        bins = reliability(evaluation.labels[known], values[known])
        if bins is not None:
            scores[name] = _calibrated(bins)
    return Numbers(scores=scores)


def _calibrated(bins: Reliability) -> Calibrated:
    bounds = zip(*(short(part) for part in (bins.observed, bins.low, bins.high)), strict=True)
    return Calibrated(
        predicted=short(bins.predicted),
        observed=tuple(Estimate(mean=mean, low=low, high=high) for mean, low, high in bounds),
        counts=tuple(bins.counts.tolist()),
        error=bins.error,
    )


def section(numbers: Numbers) -> Section:
    scores = numbers.scores
    if not any(estimate.mean > 0 for bins in scores.values() for estimate in bins.observed):
        return Section("No candidate of the test window is a hit.")
    text = (
        "A score is calibrated if the fraction p of the candidates with score p are hits. The error of the published "
        f"score is {percent(scores[SCORE].error)} on average over the candidates. Calibrations were fitted on the "
        "validation window; the figure shows the test window."
    )
    picture = Picture(
        "calibration",
        "Observed fraction of hits against the predicted one for score, lgb_score and mf_score, on logarithmic axes.",
        "Scores on the dotted line are right. Above the line, hits are more frequent than predicted. Whiskers are 95% "
        "intervals.",
        lambda figure: draw(figure, scores),
        4.0,
    )
    rows = [
        (name, count, predicted, observed.mean, observed.low, observed.high)
        for name, bins in scores.items()
        for count, predicted, observed in zip(bins.counts, bins.predicted, bins.observed, strict=True)
    ]
    table = Table("Bins of rising score", ("score", "candidates", "predicted", "observed", "low", "high"), rows)
    return Section(text, [picture], [table])


def draw(figure: "Figure", scores: Mapping[str, Calibrated]) -> None:
    axes = figure.subplots()
    everything: list[float] = []
    for name, bins in scores.items():
        points = [(x, y) for x, y in zip(bins.predicted, bins.observed, strict=True) if x > 0 and y.mean > 0]
        if not points:
            continue
        style = STYLES[SYSTEMS[name]]
        xs, ys = [x for x, _ in points], [y.mean for _, y in points]
        errors = [[y.mean - min(y.low, y.mean) for _, y in points], [max(y.high, y.mean) - y.mean for _, y in points]]
        axes.errorbar(
            xs, ys, yerr=errors, color=style.colour, linestyle=style.dashes, marker=style.marker, markersize=5,
            linewidth=1.5, elinewidth=1, label=f"{name}: error {percent(bins.error)}",
        )  # fmt: skip
        everything += xs + ys
    if everything:
        ends = [min(everything) * 0.8, min(max(everything) * 1.25, 1)]
        axes.plot(ends, ends, color=GREY, linewidth=1, linestyle=":", label="perfectly calibrated")
    axes.set(xscale="log", yscale="log", xlabel="predicted: mean score of a bin", ylabel="observed: fraction of hits")
    axes.set_title("Calibration")
    plain_axes(axes, ticked, ticked)
    axes.legend(loc="upper left")


SECTION: Final = SectionSpec(
    "calibration", "Calibration", QUALITY, Numbers, lambda run: collect(run.evaluation), section
)
