"""Features: their importance in the published ranker, and their contributions to the scores of candidates."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recsys.features.definitions import Feature
from recsys.models.rankers.registry import Ranker
from recsys.report.drawing import BLUE, ORANGE, SOFT, Picture, label_rows, percent, plain_axes, ticked
from recsys.report.inputs import RunInputs, sample_validation
from recsys.report.numbers import Floats, short
from recsys.report.section import MODEL, Section, SectionSpec, Table
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS: Final = 2_000
"""Largest number of candidates whose contributions are computed."""
DOTS: Final = 500
"""Largest number of candidates whose contributions are kept one by one."""
TOP_CONTRIBUTIONS: Final = 15
TOP_IMPORTANCE: Final = 18
"""Largest numbers of features in the two figures."""


class Importance(Config):
    """A feature's fraction of the gain of all splits."""

    name: str
    group: str
    meaning: str
    gain: float


class Contributions(Config):
    """A feature's contributions to the ranker's raw scores of sampled candidates (SHAP; Lundberg et al. 2020).

    mean: mean of the absolute contributions over all sampled candidates; values: contributions for some of them
    percentiles: position of these candidates' feature values among the sampled ones, 0 to 100; None if a value is
    missing or the code of a category
    """

    name: str
    meaning: str
    mean: float
    values: Floats
    percentiles: tuple[int | None, ...]


class Numbers(Config):
    """Features by falling importance, and those with the largest contributions."""

    backend: str
    trees: int
    importance: tuple[Importance, ...]
    contributions: tuple[Contributions, ...]
    sampled_rows: int


def collect(run: RunInputs) -> Numbers:
    _, sample = sample_validation(run.validation)
    rows = run.validation.rows.features[sample]
    rows = rows[np.linspace(0, len(rows) - 1, min(ROWS, len(rows))).astype(int)]
    return Numbers(
        backend=run.config.ranker.backend,
        trees=run.selected.n_trees,
        importance=importance(run.final.importance(), run.config.inference.features),
        contributions=contributions(run.selected.ranker, rows, run.config.inference.features),
        sampled_rows=len(rows),
    )


def importance(gains: Mapping[str, float], features: Sequence[Feature]) -> tuple[Importance, ...]:
    """Features in the order of `gains`, with their fraction of the total; gains: by name, see `Ranker.importance`."""
    known, total = {feature.name: feature for feature in features}, sum(gains.values()) or 1.0
    return tuple(
        Importance(name=name, group=known[name].group, meaning=known[name].meaning, gain=gain / total)
        for name, gain in gains.items()
    )


def contributions(ranker: Ranker, rows: np.ndarray, features: Sequence[Feature]) -> tuple[Contributions, ...]:
    """The features with the largest contributions, by falling mean; rows: float32 (n_rows, n_features)."""
    added = ranker.contributions(rows)[:, :-1]
    means = np.abs(added).mean(axis=0)
    dots = np.linspace(0, len(rows) - 1, min(DOTS, len(rows))).astype(int)
    return tuple(
        Contributions(
            name=features[column].name,
            meaning=features[column].meaning,
            mean=float(means[column]),
            values=short(added[dots, column]),
            percentiles=tuple(_percentiles(rows[:, column], features[column].kind == "category")[dots]),
        )
        for column in np.argsort(-means, kind="stable")[:TOP_CONTRIBUTIONS].tolist()
        if means[column] > 0
    )


def _percentiles(values: np.ndarray, codes: bool) -> np.ndarray:
    """Percentile of each value, object (n,): equal values get their middle percentile, codes and NaN get None."""
    known = ~np.isnan(values) & (not codes)
    percentiles = np.full(len(values), None, object)
    ascending = np.sort(values[known])
    left, right = (np.searchsorted(ascending, values[known], side) for side in ("left", "right"))
    percentiles[known] = [round(50 * rank / len(ascending)) for rank in (left + right).tolist()]
    return percentiles


def section(numbers: Numbers) -> Section:
    used = [row for row in numbers.importance if row.gain > 0]
    if not used:
        return Section("The trees split by no feature, so all candidates have the same score.")
    half, total = 0, 0.0
    while half < len(used) and total < 0.5:
        total += used[half].gain
        half += 1
    text = (
        f"The {numbers.trees} trees use {len(used)} of {len(numbers.importance)} features. Half of the gain comes from "
        f"{half} of them. The most important one is {used[0].name}: {used[0].meaning}."
    )
    drawn = used[:TOP_IMPORTANCE]
    pictures = [
        Picture(
            "importance",
            f"The {len(drawn)} features with the largest fraction of the gain of all splits.",
            f"Gain of all splits in the published ranker, trained by {numbers.backend}.",
            lambda figure: draw_importance(figure, numbers.importance),
            1.0 + 0.25 * len(drawn),
        )
    ]
    if numbers.contributions:
        pictures.append(
            Picture(
                "contributions",
                "Contributions of the most important features to raw scores: a row for each feature, a dot for each "
                "candidate, coloured by the feature's value.",
                "A dot is a candidate of the validation window. Values are the trees' SHAP values; features are in the "
                f"order of the mean over {numbers.sampled_rows:,} candidates.",
                lambda figure: draw_contributions(figure, numbers.contributions),
                1.2 + 0.33 * len(numbers.contributions),
            )
        )
    gains = [(row.name, row.group, row.meaning, row.gain) for row in used]
    means = [(row.name, row.meaning, row.mean) for row in numbers.contributions]
    tables = [
        Table("Features by fraction of the gain", ("feature", "group", "meaning", "gain"), gains),
        Table("Mean absolute contribution to the raw score", ("feature", "meaning", "mean"), means),
    ]
    return Section(text, pictures, tables)


def draw_importance(figure: "Figure", features: Sequence[Importance]) -> None:
    axes = figure.subplots()
    top = [row for row in features if row.gain > 0][:TOP_IMPORTANCE]
    heights = label_rows(axes, [row.name for row in top])
    axes.barh(heights, [row.gain for row in top], color=BLUE, height=0.66)
    for height, row in zip(heights, top, strict=True):
        axes.text(row.gain, height, f" {percent(row.gain)}, {row.group}", va="center", fontsize=8, color=SOFT)
    axes.set_xlim(0, max((row.gain for row in top), default=1) * 1.45)
    axes.set(xlabel="fraction of the gain of all splits")
    axes.set_title("Features by importance, with their group")
    plain_axes(axes, ticked)


def draw_contributions(figure: "Figure", features: Sequence[Contributions]) -> None:
    """Draw dots as in SHAP's summary plot: one for each candidate, placed by the feature's contribution."""
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415 - see drawing.png
    from matplotlib.colors import LinearSegmentedColormap, Normalize  # noqa: PLC0415

    axes = figure.subplots()
    tints = LinearSegmentedColormap.from_list("low to high", [BLUE, "#c79ac2", ORANGE])
    rows = label_rows(axes, [row.name for row in features])
    reach = max((abs(value) for row in features for value in row.values), default=1.0) or 1.0
    for middle, row in zip(rows, features, strict=True):
        values, heights = np.array(row.values), middle + _swarm(np.array(row.values), reach)
        known = np.array([percentile is not None for percentile in row.percentiles])
        colours = np.array([percentile or 0 for percentile in row.percentiles])
        dots: dict[str, Any] = {"s": 7, "linewidths": 0, "rasterized": True}
        axes.scatter(values[~known], heights[~known], color="#c6c9ce", **dots)
        axes.scatter(values[known], heights[known], c=colours[known], cmap=tints, vmin=0, vmax=100, **dots)
    axes.axvline(0, color=SOFT, linewidth=0.8, zorder=0)
    axes.set(xlabel="contribution to the ranker's raw score of a candidate")
    axes.set_title("Contributions of features to scores")
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), tints), ax=axes, fraction=0.03, pad=0.01, aspect=40)
    bar.set_ticks([0, 1], labels=["low", "high"])
    bar.set_label("value of the feature (grey: missing, or a category)", labelpad=-12)
    bar.outline.set_visible(False)


def _swarm(values: np.ndarray, reach: float) -> np.ndarray:
    """Heights within a row, float64 (n,), that spread dots of similar values; the denser they are, the wider."""
    column = np.round(values / reach * 60).astype(int)
    order = np.argsort(column, kind="stable")
    _, start, counts = np.unique(column[order], return_index=True, return_counts=True)
    position = np.empty(len(values), int)
    position[order] = np.arange(len(values)) - np.repeat(start, counts)
    size = np.empty(len(values), int)
    size[order] = np.repeat(counts, counts)
    # Alternately above and below the middle.
    offset = np.where(position % 2, 1, -1) * ((position + 1) // 2)
    return offset / np.maximum(size / 2, 12) * 0.36


SECTION: Final = SectionSpec("features", "Features", MODEL, Numbers, collect, section)
