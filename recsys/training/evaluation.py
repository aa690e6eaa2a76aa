"""Judge the evaluated model beside its parts and the baselines on the test window."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from recsys.arrays import belongs, ranked_lists
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.evaluation import metrics, protocol
from recsys.evaluation.baselines import (
    HALF_LIFE_DAYS,
    POPULARITY_DAYS,
    frequency_scores,
    most_popular,
    personal_frequency,
    tuned_half_life,
)
from recsys.evaluation.protocol import Row, TestCases
from recsys.models.blend import Blend
from recsys.timeline import cut
from recsys.training.plan import Plan
from recsys.training.scoring import ScoredCandidates

HYBRID: Final = "hybrid"
MOST_SEEN: Final = 500
"""Popular items that a user may have seen without the popularity baseline running out of new ones to show."""
Lists = Mapping[str, np.ndarray]
"""Ranked lists of each system, int32 (n_users, depth)."""


def labels_of(scored: ScoredCandidates, cases: TestCases) -> np.ndarray:
    """Whether each candidate is in its user's truth, bool (n,)."""
    return belongs(scored.users, scored.items, cases.truth.offsets, cases.truth.items)


def evaluate(
    shop: ShopData,
    plan: Plan,
    cases: TestCases,
    scored: ScoredCandidates,
    blend: Blend,
    earlier: TestCases,
    new: tuple[TestCases, ScoredCandidates, Blend] | None,
    config: TrainConfig,
) -> dict[str, Any]:
    """Everything the test window says, as JSON.

    scored: candidates of `cases` with one row of lgb scores for each seed; earlier: cases of the validation window,
    where the personal baseline's half-life is tuned
    new: cases, candidates and blend of who ranks items that are new to the user, None where nobody chose any
    """
    settings, n_items = config.evaluation, len(shop.items)
    everything = np.ones(len(scored.users), bool)
    half_lives = _half_lives(shop, plan, earlier, config)
    others = baselines(shop, plan, cases, half_lives, config) | _sources(scored, cases, everything, config)
    ours = our_lists(scored, blend, cases, config)
    same = _summaries(others, cases, scored.warm, n_items, config)
    runs = [_summaries(lists, cases, scored.warm, n_items, config) + same for lists in ours]
    labels = labels_of(scored, cases)
    scores = our_scores(scored, 0, blend) | baseline_scores(shop, plan, cases, scored, half_lives, config)
    table = protocol.with_seed_spread(runs, settings.k)
    return {
        "table": protocol.with_classification(table, scores, labels, scored.users, scored.warm),
        "new_items": _new_items(shop, plan, cases, scored, blend, half_lives, config) + _discovered(shop, new, config),
        "differences": _differences(ours[0] | others, cases, config),
        "half_lives": half_lives,
        "candidates": {
            "recall": float(labels.sum() / cases.truth.sizes.sum()),
            "per_user": len(labels) / len(cases),
            "sources": _contributions(
                scored, labels, int(cases.truth.sizes.sum()), config.inference.candidates.source_names
            ),
        },
    }


def our_lists(
    scored: ScoredCandidates, blend: Blend, cases: TestCases, config: TrainConfig, *, new_only: bool = False
) -> list[dict[str, np.ndarray]]:
    """Lists of the hybrid and its two parts for each seed; new_only: of candidates without the user's own items."""
    among = _new(scored, cases) if new_only else np.ones(len(scored.users), bool)
    return [_ours(scored, seed, blend, cases, among, config) for seed in range(len(scored.lgb))]


def popularity(shop: ShopData, age: int, config: TrainConfig) -> np.ndarray:
    """Target events of each item in the protocol's days up to a cut, int64 (n_items,)."""
    daily = shop.daily
    recent = (daily.age >= age) & (daily.age < age + POPULARITY_DAYS) & np.isin(daily.event, config.target_codes)
    return np.bincount(daily.item[recent], daily.count[recent], minlength=len(shop.items)).astype(np.int64)


def popular_items(shop: ShopData, age: int, k: int, config: TrainConfig) -> np.ndarray:
    """The protocol's popularity as of a cut, int32 (k,)."""
    return most_popular(popularity(shop, age, config), k)


def _ranked(
    scored: ScoredCandidates, scores: np.ndarray, cases: TestCases, among: np.ndarray, config: TrainConfig
) -> np.ndarray:
    """Lists of the candidates `among` (bool (n,)) that have a score."""
    there = among & ~np.isnan(scores)
    depth = config.evaluation.cutoffs[-1]
    return ranked_lists(scored.users[there], scored.items[there], scores[there], len(cases), depth)


def _ours(
    scored: ScoredCandidates,
    seed: int,
    blend: Blend,
    cases: TestCases,
    among: np.ndarray,
    config: TrainConfig,
) -> dict[str, np.ndarray]:
    """Lists of the hybrid and its two parts."""
    systems = our_scores(scored, seed, blend)
    return {name: _ranked(scored, values, cases, among, config) for name, values in systems.items()}


def our_scores(scored: ScoredCandidates, seed: int, blend: Blend) -> dict[str, np.ndarray]:
    """Calibrated scores of the hybrid and its two parts, float64 (n,)."""
    scores, lgb, mf = blend(scored.lgb[seed], scored.mf)
    return {HYBRID: scores, "ranker alone": lgb, "factorization alone": mf}


def _sources(
    scored: ScoredCandidates, cases: TestCases, among: np.ndarray, config: TrainConfig
) -> dict[str, np.ndarray]:
    return {
        f"source {name}": _ranked(scored, scored.sources[:, at], cases, among, config)
        for at, name in enumerate(config.inference.candidates.source_names)
    }


def _half_lives(shop: ShopData, plan: Plan, earlier: TestCases, config: TrainConfig) -> dict[str, float]:
    """Days of each personal baseline, by its name: the protocol's and the best on the validation window."""
    k = config.evaluation.k
    before = popular_items(shop, plan.valid, config.evaluation.cutoffs[-1], config)
    tuned, _ = tuned_half_life(earlier, cut(shop.end, plan.valid), before, k=k)
    return {f"personal frequency, {days:.0f} days": days for days in (HALF_LIFE_DAYS, tuned)}


def baselines(
    shop: ShopData, plan: Plan, cases: TestCases, half_lives: Mapping[str, float], config: TrainConfig
) -> dict[str, np.ndarray]:
    """Lists of popularity and of personal frequency; half_lives: its days, by the name of the system"""
    depth, now = config.evaluation.cutoffs[-1], cut(shop.end, plan.test)
    popular = popular_items(shop, plan.test, depth, config)
    lists = {"popularity": np.broadcast_to(popular, (len(cases), depth))}
    for name, days in half_lives.items():
        lists[name] = personal_frequency(cases.histories, now, popular, k=depth, half_life=days)
    return lists


def baseline_scores(
    shop: ShopData,
    plan: Plan,
    cases: TestCases,
    scored: ScoredCandidates,
    half_lives: Mapping[str, float],
    config: TrainConfig,
) -> dict[str, np.ndarray]:
    """What the baselines would score the candidates, float64 (n,)."""
    counts, now = popularity(shop, plan.test, config), cut(shop.end, plan.test)
    scores = {"popularity": counts[scored.items].astype(np.float64)}
    for name, days in half_lives.items():
        scores[name] = frequency_scores(cases.histories, now, counts, scored.users, scored.items, half_life=days)
    return scores


def _summaries(lists: Lists, cases: TestCases, warm: np.ndarray, n_items: int, config: TrainConfig) -> list[Row]:
    return [
        row
        for name, ranked in lists.items()
        for row in protocol.summary(name, ranked, cases.truth, warm, n_items=n_items, config=config.evaluation)
    ]


def _new_items(
    shop: ShopData,
    plan: Plan,
    cases: TestCases,
    scored: ScoredCandidates,
    blend: Blend,
    half_lives: Mapping[str, float],
    config: TrainConfig,
) -> list[Row]:
    """The table over items new to the user: candidates and truth without the items of their history."""
    history, depth = cases.histories, config.evaluation.cutoffs[-1]
    new = _new(scored, cases)
    lists = _ours(scored, 0, blend, cases, new, config) | _sources(scored, cases, new, config)
    popular = popular_items(shop, plan.test, depth + MOST_SEEN, config)
    lists["popularity"] = protocol.without_seen(np.broadcast_to(popular, (len(cases), len(popular))), history, depth)
    # Without the user's own items, personal frequency is left with the popular ones that fill its lists up.
    lists |= dict.fromkeys(half_lives, lists["popularity"])
    left, stay = protocol.new_items_only(cases)
    fresh = {name: ranked[stay] for name, ranked in lists.items()}
    return _summaries(fresh, left, scored.warm[stay], len(shop.items), config)


def _discovered(
    shop: ShopData, new: tuple[TestCases, ScoredCandidates, Blend] | None, config: TrainConfig
) -> list[Row]:
    """Rows of the model of new items, by itself and in its parts."""
    if new is None:
        return []
    cases, scored, blend = new
    [lists, *_] = our_lists(scored, blend, cases, config)
    named = {f"{name}, objective discover": ranked for name, ranked in lists.items()}
    return _summaries(named, cases, scored.warm, len(shop.items), config)


def _new(scored: ScoredCandidates, cases: TestCases) -> np.ndarray:
    """Candidates that their user has no event on, bool (n,)."""
    history = cases.histories
    return ~belongs(scored.users, scored.items, history.offsets, history.items)


def _differences(lists: Lists, cases: TestCases, config: TrainConfig) -> list[Row]:
    """NDCG@k of the hybrid minus that of every other system, with the paired bootstrap interval."""
    settings, sizes = config.evaluation, cases.truth.sizes
    values = {name: metrics.ndcg(metrics.hits(r, cases.truth), sizes, settings.k) for name, r in lists.items()}
    rows: list[Row] = []
    for name, other in values.items():
        if name != HYBRID:
            gap = metrics.paired_difference(values[HYBRID], other, *settings.resampling)
            rows.append({"system": name, "mean": gap.mean, "low": gap.low, "high": gap.high})
    return rows


def _contributions(
    scored: ScoredCandidates, labels: np.ndarray, n_truth: int, source_names: Sequence[str]
) -> list[Row]:
    """Each source's share of the union, and of the truth that it finds, and finds alone."""
    proposed = ~np.isnan(scored.sources)
    alone = proposed.sum(axis=1) == 1
    return [
        {
            "source": name,
            "share": float(proposed[:, at].mean()),
            "recall": float((proposed[:, at] & labels).sum() / n_truth),
            "recall_alone": float((proposed[:, at] & alone & labels).sum() / n_truth),
        }
        for at, name in enumerate(source_names)
    ]
