"""The reference's five phases: each a model fitted, chosen and scored on the same rows as the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from recsys import console
from recsys.config import TrainConfig
from recsys.features.definitions import BASE_FEATURES, names_of
from recsys.models.blend import Blend, HybridConfig, choose_alpha, fit_calibration
from recsys.models.logistic import MISSING, LogisticModel, Normalization, fit_path
from recsys.models.rankers.base import RankingData

ALPHA: Final = 0.3
"""Of the reference's fourth phase."""
COUNTS: Final = frozenset(
    f"{profiles}_{what}" for profiles in ("user", "item") for what in ("events", "views", "carts", "purchases")
)
"""Names of plain counts of a user's and of an item's events."""
BOOSTERS: Final = {"lightgbm": "LightGBM", "xgboost": "XGBoost"}


class Predictor(Protocol):
    """A fitted model over the feature matrix."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Raw scores float64 (n_rows,), higher is better."""
        ...


@dataclass(frozen=True, slots=True)
class Windows:
    """The rows that all phases share.

    train: to choose with; valid: to choose on; refit: to learn from before the test
    valid_mf, test_mf: raw scores of the factorization, float32 (n,), NaN where there is none
    test: float32 (n, n_features)
    measure: the metric that choices maximize, of scores of the validation rows
    finish: what becomes of a model's raw scores of the test rows
    """

    train: Sequence[RankingData]
    valid: RankingData
    refit: Sequence[RankingData]
    valid_mf: np.ndarray
    test: np.ndarray
    test_mf: np.ndarray
    measure: Callable[[np.ndarray], float]
    finish: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Grown:
    """Trees as many as the validation window bears: a function that grows them again, and their validation scores."""

    n_trees: int
    scores: np.ndarray
    fit: Callable[[Sequence[RankingData]], Predictor]


@dataclass(frozen=True, slots=True)
class Phase:
    """One row of the table.

    about: what was chosen, and how; metric: of the validation window
    valid, test: scores of the windows' rows on [0, 1], float64
    fit: the same model on other rows; None where it needs more than rows, as a blend does
    """

    name: str
    details: Mapping[str, Any]
    metric: float
    valid: np.ndarray
    test: np.ndarray
    fit: Callable[[Sequence[RankingData]], Predictor] | None


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search came to; about: how it went."""

    config: TrainConfig
    details: Mapping[str, Any]


def basic_features() -> tuple[str, ...]:
    """Of the first phase: plain counts of the user's and of the item's events."""
    return tuple(feature.name for feature in BASE_FEATURES if feature.name in COUNTS)


def rich_features() -> tuple[str, ...]:
    """Of the second phase: all that is known of user, time, item, category and what they had to do with each other.

    Codes of categories are no numbers, and which source proposed a candidate is of the later phases.
    """
    groups = names_of("user", "time", "item", "category", "user-item", "user-category")
    numbers = {feature.name for feature in BASE_FEATURES if feature.kind == "number"}
    return tuple(name for name in groups if name in numbers)


def five_phases(
    windows: Windows,
    grow: Callable[[TrainConfig], Grown],
    tune: Callable[[], Tuned] | None,
    config: TrainConfig,
) -> list[Phase]:
    """All rows in order; tune: what searches settings for the last one, None where alpha alone is chosen."""
    boosted = BOOSTERS[config.ranker.backend]
    phases = [
        linear_phase("1 logistic regression, basic features", basic_features(), windows, config),
        linear_phase("2 logistic regression, all features", rich_features(), windows, config),
    ]
    with console.step(f"phases 3 and 4: {boosted}"):
        grown = grow(config)
        raw = windows.finish(grown.fit(windows.refit).predict(windows.test))
        alone, blended = (config.hybrid.model_copy(update={"alpha": alpha}) for alpha in (0.0, ALPHA))
        phases.append(blended_phase(f"3 {boosted}", windows, grown, raw, alone, {}, grown.fit))
        phases.append(blended_phase(f"4 hybrid, alpha {ALPHA}", windows, grown, raw, blended, {}, None))
    with console.step("phase 5: the tuned hybrid"):
        tuned = Tuned(config, {"search": "alpha alone"}) if tune is None else tune()
        fit = None
        if tuned.config.ranker != config.ranker:
            grown = grow(tuned.config)
            raw, fit = windows.finish(grown.fit(windows.refit).predict(windows.test)), grown.fit
        phases.append(blended_phase("5 tuned hybrid", windows, grown, raw, tuned.config.hybrid, tuned.details, fit))
    return phases


def linear_phase(name: str, features: Sequence[str], windows: Windows, config: TrainConfig) -> Phase:
    """A logistic regression whose normalization and strength are chosen on the validation window."""
    settings = config.phases.logistic
    names = config.inference.feature_names
    columns = np.array([names.index(feature) for feature in features])

    def path(
        parts: Sequence[RankingData], normalization: Normalization, strengths: Sequence[float]
    ) -> Sequence[LogisticModel]:
        return fit_path(parts, columns, normalization, strengths, settings.max_rows)

    with console.step(f"phase {name}"):
        scores: dict[tuple[Normalization, float], np.ndarray] = {}
        for normalization in settings.normalizations:
            models = path(windows.train, normalization, settings.strengths)
            matrix = models[0].normalized(windows.valid.features)
            for strength, model in zip(settings.strengths, models, strict=True):
                scores[normalization, strength] = model.score(matrix)
        curve = {point: windows.measure(found) for point, found in scores.items()}
        best = max(curve, key=curve.__getitem__)

        def fit(parts: Sequence[RankingData]) -> Predictor:
            return path(parts, best[0], best[1:])[0]

        calibrate = fit_calibration(scores[best], windows.valid.labels)
        test = windows.finish(fit(windows.refit).predict(windows.test))
    details = {
        "features": list(features),
        "normalization": best[0],
        "C": best[1],
        "missing": MISSING,
        "curve": [{"normalization": n, "C": c, "metric": value} for (n, c), value in curve.items()],
    }
    return Phase(name, details, curve[best], calibrate(scores[best]), calibrate(test), fit)


def blended_phase(
    name: str,
    windows: Windows,
    grown: Grown,
    raw: np.ndarray,
    hybrid: HybridConfig,
    details: Mapping[str, Any],
    fit: Callable[[Sequence[RankingData]], Predictor] | None,
) -> Phase:
    """Trees blended with the factorization as `hybrid` says; raw: their scores of the test rows."""
    blend, curve = chosen_blend(windows, grown.scores, hybrid)
    chosen = {
        "trees": grown.n_trees,
        "alpha": blend.alpha,
        "curve": [{"alpha": value, "metric": metric} for value, metric in curve.items()],
        **details,
    }
    valid, test = blend(grown.scores, windows.valid_mf)[0], blend(raw, windows.test_mf)[0]
    return Phase(name, chosen, curve[blend.alpha], valid, test, fit)


def chosen_blend(windows: Windows, scores: np.ndarray, hybrid: HybridConfig) -> tuple[Blend, dict[float, float]]:
    """The blend of raw scores of the validation rows by the alpha that is chosen, and the metric by alpha."""
    labels = windows.valid.labels
    lgb, mf = fit_calibration(scores, labels), fit_calibration(windows.valid_mf, labels)
    alpha, curve = choose_alpha(lgb(scores), mf(windows.valid_mf), windows.measure, hybrid)
    return Blend(alpha=alpha, lgb=lgb, mf=mf), curve
