"""The five phases: models that are trained, chosen and scored on the same rows as each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np

from recsys import console
from recsys.config import TrainConfig
from recsys.features.definitions import BASE_FEATURES, names_of
from recsys.models.blend import Blend, HybridConfig, choose_alpha, fit_calibration
from recsys.models.logistic import MISSING, LogisticModel, Normalization, fit_path
from recsys.models.rankers.registry import RANKERS
from recsys.models.rankers.rows import RankingData

ALPHA: Final = 0.3
"""Weight of the factorization in the reference's fourth phase."""
COUNTS: Final = frozenset(
    f"{owner}_{kind}" for owner in ("user", "item") for kind in ("events", "views", "carts", "purchases")
)
"""Names of the plain counts of a user's and of an item's events."""


class Predictor(Protocol):
    """A trained model over the feature matrix."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Raw scores float64 (n_rows,), higher is better."""
        ...


Train = Callable[[Sequence[RankingData]], Predictor]
"""Trains a model whose settings are chosen already."""


@dataclass(frozen=True, slots=True)
class PhaseRows:
    """The rows that all phases share.

    train: to train on before a choice; valid: to choose on; refit: to train on before the test
    valid_mf, test_mf: raw scores of the factorization, float32 (n,), NaN where there is none
    test: float32 (n, n_features)
    measure: the metric that choices maximize, of scores of the validation rows
    measure_new: the same for items that are new to the user; None if it decides about no alpha
    adjust: from a model's raw scores of the test rows to those that are compared
    """

    train: Sequence[RankingData]
    valid: RankingData
    refit: Sequence[RankingData]
    valid_mf: np.ndarray
    test: np.ndarray
    test_mf: np.ndarray
    measure: Callable[[np.ndarray], float]
    measure_new: Callable[[np.ndarray], float] | None
    adjust: Callable[[np.ndarray], np.ndarray]

    def test_scores(self, train: Train) -> np.ndarray:
        """Raw scores of the test rows by a model trained on the refit rows, float64 (n,)."""
        return self.adjust(train(self.refit).predict(self.test))


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """Trees whose number the validation window chose.

    scores: raw scores of the validation rows, float64 (n_rows,); train: trains as many trees on other rows
    """

    n_trees: int
    scores: np.ndarray
    train: Train


@dataclass(frozen=True, slots=True)
class TunedSettings:
    """The settings of the last phase.

    trials: of the search, 0 where alpha alone was chosen
    settings: that the search changed, by `section.key`; adopted: whether they are those of `config`
    """

    config: TrainConfig
    trials: int = 0
    settings: Mapping[str, Any] | None = None
    adopted: bool = False

    def to_json(self) -> dict[str, Any]:
        """The search as one flat object."""
        if not self.trials:
            return {"search": "alpha alone"}
        return {"trials": self.trials, "settings": dict(self.settings or {}), "adopted": self.adopted}


@dataclass(frozen=True, slots=True)
class LinearDetails:
    """The choices of a logistic regression; curve: the validation metric by normalization and strength C."""

    features: Sequence[str]
    normalization: Normalization
    strength: float
    curve: Mapping[tuple[Normalization, float], float]

    def to_json(self) -> dict[str, Any]:
        """The choices as one object."""
        points = [{"normalization": name, "C": c, "metric": metric} for (name, c), metric in self.curve.items()]
        chosen = {"features": list(self.features), "normalization": self.normalization, "C": self.strength}
        return {**chosen, "missing": MISSING, "curve": points}


@dataclass(frozen=True, slots=True)
class BlendDetails:
    """The choices of a blend; curve: the validation metric by alpha; tuned: the search, where there was one."""

    trees: int
    alpha: float
    curve: Mapping[float, float]
    tuned: TunedSettings | None

    def to_json(self) -> dict[str, Any]:
        """The choices as one object."""
        points = [{"alpha": alpha, "metric": metric} for alpha, metric in self.curve.items()]
        search = {} if self.tuned is None else self.tuned.to_json()
        return {"trees": self.trees, "alpha": self.alpha, "curve": points, **search}


@dataclass(frozen=True, slots=True)
class Phase:
    """One row of the table.

    metric: of the validation window
    valid, test: scores of the rows of both windows on [0, 1], float64
    train: trains the same model on other rows; None for a blend, which needs more than rows
    """

    name: str
    details: LinearDetails | BlendDetails
    metric: float
    valid: np.ndarray
    test: np.ndarray
    train: Train | None


def basic_features() -> tuple[str, ...]:
    """Features of the first phase: plain counts of the user's and of the item's events."""
    return tuple(feature.name for feature in BASE_FEATURES if feature.name in COUNTS)


def rich_features() -> tuple[str, ...]:
    """Features of the second phase: the numbers about user, time, item, category and their past together.

    Codes of categories are not numbers. Features of the candidate belong to later phases.
    """
    groups = names_of("user", "time", "item", "category", "user-item", "user-category")
    numbers = {feature.name for feature in BASE_FEATURES if feature.kind == "number"}
    return tuple(name for name in groups if name in numbers)


def train_phases(
    rows: PhaseRows,
    boost: Callable[[TrainConfig], BoostedTrees],
    tune: Callable[[], TunedSettings] | None,
    config: TrainConfig,
) -> list[Phase]:
    """The five phases in order.

    boost: trains trees with some settings; tune: searches settings of the last phase, None to choose alpha alone
    """
    name = RANKERS[config.ranker.backend].title
    phases = [
        linear_phase("1 logistic regression, basic features", basic_features(), rows, config),
        linear_phase("2 logistic regression, all features", rich_features(), rows, config),
    ]
    with console.step(f"train phases 3 and 4, {name}"):
        trees = boost(config)
        raw = rows.test_scores(trees.train)
        alone, blended = (config.hybrid.model_copy(update={"alpha": alpha}) for alpha in (0.0, ALPHA))
        phases.append(replace(blended_phase(f"3 {name}", rows, trees, raw, alone), train=trees.train))
        phases.append(blended_phase(f"4 hybrid, alpha {ALPHA}", rows, trees, raw, blended))
    with console.step("train phase 5, the tuned hybrid"):
        tuned = TunedSettings(config) if tune is None else tune()
        train = None
        if tuned.config.ranker != config.ranker:
            trees = boost(tuned.config)
            raw, train = rows.test_scores(trees.train), trees.train
        phase = blended_phase("5 tuned hybrid", rows, trees, raw, tuned.config.hybrid, tuned)
        phases.append(replace(phase, train=train))
    return phases


def linear_phase(name: str, features: Sequence[str], rows: PhaseRows, config: TrainConfig) -> Phase:
    """A logistic regression whose normalization and strength are chosen on the validation window."""
    settings, names = config.phases.logistic, config.inference.feature_names
    columns = np.array([names.index(feature) for feature in features])

    def path(
        parts: Sequence[RankingData], normalization: Normalization, strengths: Sequence[float]
    ) -> Sequence[LogisticModel]:
        return fit_path(parts, columns, normalization, strengths, settings.max_rows)

    with console.step(f"train phase {name}"):
        scores: dict[tuple[Normalization, float], np.ndarray] = {}
        for normalization in settings.normalizations:
            models = path(rows.train, normalization, settings.strengths)
            matrix = models[0].normalized(rows.valid.features)
            for strength, model in zip(settings.strengths, models, strict=True):
                scores[normalization, strength] = model.score(matrix)
        curve = {point: rows.measure(values) for point, values in scores.items()}
        best = max(curve, key=curve.__getitem__)

        def train(parts: Sequence[RankingData]) -> Predictor:
            return path(parts, best[0], best[1:])[0]

        calibrate = fit_calibration(scores[best], rows.valid.labels)
        test = rows.test_scores(train)
    details = LinearDetails(features, best[0], best[1], curve)
    return Phase(name, details, curve[best], calibrate(scores[best]), calibrate(test), train)


def blended_phase(
    name: str,
    rows: PhaseRows,
    trees: BoostedTrees,
    raw: np.ndarray,
    hybrid: HybridConfig,
    tuned: TunedSettings | None = None,
) -> Phase:
    """Trees blended with the factorization by the settings `hybrid`.

    raw: the trees' scores of the test rows, float64 (n,); tuned: the search for the settings, if there was one
    """
    blend, curve = choose_phase_blend(rows, trees.scores, hybrid)
    details = BlendDetails(trees.n_trees, blend.alpha, curve, tuned)
    valid, test = blend(trees.scores, rows.valid_mf)[0], blend(raw, rows.test_mf)[0]
    return Phase(name, details, curve[blend.alpha], valid, test, None)


def choose_phase_blend(
    rows: PhaseRows, scores: np.ndarray, hybrid: HybridConfig
) -> tuple[Blend, Mapping[float, float]]:
    """The blend of raw scores of the validation rows by the chosen alpha, and the metric by alpha."""
    labels = rows.valid.labels
    lgb, mf = fit_calibration(scores, labels), fit_calibration(rows.valid_mf, labels)
    alpha, curves = choose_alpha(lgb(scores), mf(rows.valid_mf), rows.measure, hybrid, rows.measure_new)
    return Blend(alpha=alpha, lgb=lgb, mf=mf), curves.all_items
