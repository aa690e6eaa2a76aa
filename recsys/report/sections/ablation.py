"""Ablation: NDCG@k lost on the validation window without a group of features, or without a candidate source."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from recsys.arrays import ranked_lists
from recsys.config import TrainConfig
from recsys.evaluation import metrics, protocol
from recsys.features.definitions import source_feature
from recsys.report.drawing import BLUE, Picture, interval_bars
from recsys.report.inputs import RunInputs, sample_validation
from recsys.report.numbers import Estimate
from recsys.report.section import MODEL, Section, SectionSpec, Table
from recsys.report.sections.features import importance
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from recsys.training.ranker import SelectedRanker
    from recsys.training.validation import Validation

SHUFFLES: Final = 2
"""Random orders over which the loss of a group is averaged."""


class Loss(Config):
    """NDCG@k lost without something: mean over users, with the paired interval."""

    name: str
    lost: Estimate


class GroupLoss(Loss):
    """Loss without a group of features; gain: its fraction of the gain of all splits."""

    features: int
    gain: float


class Numbers(Config):
    """Losses by group and by source; ndcg: NDCG@k of the sampled users with everything in place."""

    k: int
    sampled_users: int
    ndcg: float
    groups: tuple[GroupLoss, ...]
    sources: tuple[Loss, ...]


def collect(run: RunInputs) -> Numbers:
    names = run.evaluation.source_names
    ablation = Ablation(run.validation, run.selected, run.config)
    features = run.config.inference.features
    gains = importance(run.final.importance(), features)
    groups = dict.fromkeys(feature.group for feature in features)
    by_group = {group: sum(row.gain for row in gains if row.group == group) for group in groups}
    return Numbers(
        k=run.config.evaluation.k,
        sampled_users=len(ablation.cases),
        ndcg=float(ablation.base.mean()),
        groups=tuple(ablation.without_group(group, gain) for group, gain in by_group.items()),
        sources=tuple(ablation.without_source(name, column) for column, name in enumerate(names)),
    )


class Ablation:
    """Sampled users of the validation window, whose candidates are scored again without something.

    cases: these users; base: NDCG@k of each user with everything in place, float64 (n_users,)
    """

    def __init__(self, validation: "Validation", selected: "SelectedRanker", config: TrainConfig) -> None:
        users, rows = sample_validation(validation)
        candidates = validation.candidates
        self.cases = validation.cases.take(users)
        self._features = validation.rows.features[rows]
        self._users = np.searchsorted(users, candidates.users[rows])
        self._items, self._mf = candidates.items[rows], candidates.mf[rows]
        self._proposed = ~np.isnan(candidates.source_scores[rows])
        self._selected, self._config = selected, config.evaluation
        self._columns = config.inference.features
        self._names = config.inference.feature_names
        self.base = self._ndcg(selected.scores[rows], np.ones(len(rows), bool))

    def _ndcg(self, lgb: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """NDCG@k of each user by the blend; lgb: raw scores, float64 (n,); kept: candidates to rank, bool (n,)."""
        scores, _, _ = self._selected.blend(lgb[kept], self._mf[kept])
        k = self._config.k
        lists = ranked_lists(self._users[kept], self._items[kept], scores, len(self.cases), k)
        return protocol.per_user(f"ndcg@{k}", lists, self.cases.truth)

    def without_group(self, group: str, gain: float) -> GroupLoss:
        """The loss where a group's columns are shuffled across the rows.

        They are shuffled together, which keeps the dependence between them.
        """
        columns = [column for column, feature in enumerate(self._columns) if feature.group == group]
        everyone = np.ones(len(self._features), bool)
        rng = np.random.default_rng(0)
        without = np.zeros(len(self.cases))
        for _ in range(SHUFFLES):
            features = self._features.copy()
            features[:, columns] = self._features[rng.permutation(len(features))[:, None], columns]
            without += self._ndcg(self._selected.ranker.predict(features), everyone) / SHUFFLES
        return GroupLoss(name=group, lost=self._lost(without), features=len(columns), gain=gain)

    def without_source(self, name: str, column: int) -> Loss:
        """The loss without the candidates that a source alone proposed, and without its scores.

        No other candidates replace them. column: of the source in the candidates' source scores
        """
        kept = self._proposed.sum(axis=1) > self._proposed[:, column]
        features = self._features[kept]
        if source_feature(name) in self._names:
            features[:, self._names.index(source_feature(name))] = np.nan
        features[:, self._names.index("n_sources")] -= self._proposed[kept, column]
        lgb = np.zeros(len(kept))
        lgb[kept] = self._selected.ranker.predict(features)
        return Loss(name=name, lost=self._lost(self._ndcg(lgb, kept)))

    def _lost(self, without: np.ndarray) -> Estimate:
        gap = metrics.paired_difference(self.base, without, self._config.resampling)
        return Estimate(mean=gap.mean, low=gap.low, high=gap.high)


def section(numbers: Numbers) -> Section:
    k = numbers.k
    most = max(numbers.groups, key=lambda row: row.lost.mean)
    text = (
        "Each group of features is shuffled across the candidates of the validation window. The group "
        f"{most.name} costs most: {most.lost.mean:.3f} of NDCG@{k} {numbers.ndcg:.3f}. The ranker is not trained "
        "again, so other features cannot compensate: the loss is larger than what a group really adds."
    )
    whiskers = f"{numbers.sampled_users:,} users; whiskers are paired intervals over users."
    pictures = [
        Picture(
            "without-features",
            f"NDCG@{k} lost where a group of features is shuffled, by group.",
            whiskers,
            lambda figure: draw(figure, numbers.groups, k, "Lost where a group of features is shuffled"),
        ),
        Picture(
            "without-source",
            f"NDCG@{k} lost without the candidates that a source alone proposes and without its scores, by source.",
            "Candidates that no other source proposes are left out and the source's scores are missing; nothing "
            "replaces them.",
            lambda figure: draw(figure, numbers.sources, k, "Lost without a candidate source"),
        ),
    ]
    groups = [(row.name, row.features, row.gain, *row.lost.bounds) for row in numbers.groups]
    sources = [(row.name, *row.lost.bounds) for row in numbers.sources]
    columns = ("group", "features", "share of the gain", "lost", "low", "high")
    tables = [
        Table("Groups of features, shuffled", columns, groups),
        Table("Sources, left out", ("source", "lost", "low", "high"), sources),
    ]
    return Section(text, pictures, tables)


def draw(figure: "Figure", losses: Sequence[Loss], k: int, title: str) -> None:
    axes = figure.subplots()
    ordered = sorted(losses, key=lambda row: -row.lost.mean)
    names, estimates = [row.name for row in ordered], [row.lost.bounds for row in ordered]
    interval_bars(axes, names, estimates, [BLUE] * len(ordered), "{:+.4f}")
    axes.set(xlabel=f"NDCG@{k} lost on the validation window")
    axes.set_title(title)


SECTION: Final = SectionSpec("ablation", "Without a group of features or a source", MODEL, Numbers, collect, section)
