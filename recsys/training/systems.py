"""Lists and scores of the systems that the evaluation compares: the hybrid, its parts, the sources, the baselines."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from recsys.arrays import belongs, ranked_lists
from recsys.evaluation.baselines import (
    HALF_LIFE_DAYS,
    POPULARITY_DAYS,
    frequency_scores,
    most_popular,
    personal_frequency,
    tuned_half_life,
)
from recsys.evaluation.protocol import TestCases
from recsys.models.blend import Blend
from recsys.timeline import Cut
from recsys.training.context import Context
from recsys.training.scoring import ScoredCandidates

HYBRID: Final = "hybrid"
RANKER: Final = "ranker alone"
FACTORIZATION: Final = "factorization alone"
POPULARITY: Final = "popularity"

Lists = Mapping[str, np.ndarray]
"""Ranked lists of each system, int32 (n_users, depth)."""


def hybrid_lists(
    context: Context, cases: TestCases, scored: ScoredCandidates, blend: Blend, *, new_only: bool = False
) -> list[Lists]:
    """Lists of the hybrid and its two parts, for each ranker of `scored`.

    new_only: rank only candidates on which the user has no event
    """
    kept = is_new(scored, cases) if new_only else np.ones(len(scored.users), bool)
    depth = context.config.evaluation.cutoffs[-1]
    return [
        {
            name: _ranked(scored, np.where(kept, values, np.nan), len(cases), depth)
            for name, values in hybrid_scores(scored, number, blend).items()
        }
        for number in range(len(scored.lgb))
    ]


def hybrid_scores(scored: ScoredCandidates, number: int, blend: Blend) -> dict[str, np.ndarray]:
    """Calibrated scores of the hybrid and its two parts, float64 (n,) each; number: of the ranker in `scored`."""
    scores, lgb, mf = blend(scored.lgb[number], scored.mf)
    return {HYBRID: scores, RANKER: lgb, FACTORIZATION: mf}


def source_lists(
    context: Context, cases: TestCases, scored: ScoredCandidates, *, new_only: bool = False
) -> dict[str, np.ndarray]:
    """Lists of each candidate source; new_only: see `hybrid_lists`."""
    kept = is_new(scored, cases) if new_only else np.ones(len(scored.users), bool)
    depth, names = context.config.evaluation.cutoffs[-1], context.config.inference.candidates.source_names
    return {
        f"source {name}": _ranked(scored, np.where(kept, values, np.nan), len(cases), depth)
        for name, values in zip(names, scored.source_scores.T, strict=True)
    }


def _ranked(scored: ScoredCandidates, scores: np.ndarray, n_users: int, depth: int) -> np.ndarray:
    """Lists of the candidates that have a score."""
    kept = ~np.isnan(scores)
    return ranked_lists(scored.users[kept], scored.items[kept], scores[kept], n_users, depth)


def is_new(scored: ScoredCandidates, cases: TestCases) -> np.ndarray:
    """Whether the user has no event on the candidate, bool (n,)."""
    history = cases.histories
    return ~belongs(scored.users, scored.items, history.offsets, history.items)


def popularity(context: Context, cut: Cut) -> np.ndarray:
    """Target events of each item in the protocol's days before a cut, int64 (n_items,)."""
    daily, n_items = context.shop.daily, len(context.shop.items)
    targets = np.isin(daily.event, context.config.target_codes)
    recent = (daily.age >= cut.age) & (daily.age < cut.age + POPULARITY_DAYS) & targets
    return np.bincount(daily.item[recent], daily.count[recent], minlength=n_items).astype(np.int64)


def popular_items(context: Context, cut: Cut, k: int) -> np.ndarray:
    """The k most popular items as of a cut, int32 (k,), padded with UNKNOWN."""
    return most_popular(popularity(context, cut), k)


def tuned_half_lives(context: Context, earlier: TestCases | None) -> dict[str, float]:
    """The half-life in days of each personal baseline: the protocol's, and the best one on the validation window.

    earlier: cases of the validation window; None for the protocol's half-life alone
    """
    if earlier is None:
        return {_frequency(HALF_LIFE_DAYS): HALF_LIFE_DAYS}
    validation, settings = context.plan.validation, context.config.evaluation
    popular = popular_items(context, validation, settings.cutoffs[-1])
    tuned, _ = tuned_half_life(earlier, validation.time, popular, k=settings.k)
    return {_frequency(days): days for days in (HALF_LIFE_DAYS, tuned)}


def _frequency(days: float) -> str:
    return f"personal frequency, {days:.0f} days"


def baseline_lists(context: Context, cases: TestCases, half_lives: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Lists of popularity and of personal frequency for the test window; half_lives: days by the system's name."""
    depth, now = context.config.evaluation.cutoffs[-1], context.plan.test.time
    popular = popular_items(context, context.plan.test, depth)
    lists = {POPULARITY: np.broadcast_to(popular, (len(cases), depth))}
    for name, days in half_lives.items():
        lists[name] = personal_frequency(cases.histories, now, popular, k=depth, half_life=days)
    return lists


def baseline_scores(
    context: Context, cases: TestCases, scored: ScoredCandidates, half_lives: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Scores of the candidates by popularity and by personal frequency, float64 (n,) each."""
    counts, now = popularity(context, context.plan.test), context.plan.test.time
    scores = {POPULARITY: counts[scored.items].astype(np.float64)}
    for name, days in half_lives.items():
        scores[name] = frequency_scores(cases.histories, now, counts, scored.users, scored.items, half_life=days)
    return scores
