"""Judge the evaluated model beside its baselines on the test window."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.data.split import cut
from recsys.evaluation import metrics, protocol
from recsys.evaluation.baselines import (
    HALF_LIFE_DAYS,
    POPULARITY_DAYS,
    most_popular,
    personal_frequency,
    tuned_half_life,
)
from recsys.evaluation.protocol import Row, TestCases
from recsys.inference.stages import ranked_lists
from recsys.models.hybrid import Blend, mix
from recsys.schema import SOURCES
from recsys.training.plan import Plan
from recsys.training.scoring import ScoredCandidates

HYBRID = "hybrid"


def labels_of(scored: ScoredCandidates, cases: TestCases) -> np.ndarray:
    """Whether each candidate is in its user's truth, bool (n,)."""
    return metrics.belongs(scored.users, scored.items, cases.truth.offsets, cases.truth.items)


def ndcg_of(scored: ScoredCandidates, scores: np.ndarray, cases: TestCases, config: TrainConfig) -> float:
    """Mean NDCG@k of the candidates ranked by `scores`."""
    k = config.evaluation.k
    lists = ranked_lists(scored.users, scored.items, scores, len(cases), k)
    return float(metrics.ndcg(metrics.hits(lists, cases.truth), cases.truth.sizes, k).mean())


def evaluate(
    shop: ShopData,
    plan: Plan,
    cases: TestCases,
    scored: ScoredCandidates,
    blend: Blend,
    earlier: TestCases,
    config: TrainConfig,
) -> dict[str, Any]:
    """The table of all systems, and what else the test window says.

    scored: candidates of `cases` with one row of lgb scores a seed; earlier: cases of the validation window, where
    the personal baseline's half-life is tuned
    """
    settings, n_items = config.evaluation, len(shop.items)
    depth = settings.cutoffs[-1]
    runs, lists = [], {}
    for lgb_raw in scored.lgb:
        systems = dict(_systems(shop, plan, cases, scored, lgb_raw, blend, earlier, config))
        lists = lists or systems
        rows = [
            protocol.summary(
                name, ranked[:, :depth], cases.truth, scored.warm, n_items=n_items, config=settings
            )
            for name, ranked in systems.items()
        ]
        runs.append([row for group in rows for row in group])
    labels = labels_of(scored, cases)
    scores, _, _ = blend(scored.lgb[0], scored.mf)
    return {
        "table": protocol.with_seed_spread(runs, settings.k),
        "new_items": _new_items(lists, cases, scored, n_items, config),
        "differences": _differences(lists, cases, config),
        "candidates": {
            "roc_auc": metrics.roc_auc(labels, scores),
            "average_precision": metrics.average_precision(labels, scores),
            "recall": float(labels.sum() / cases.truth.sizes.sum()),
            "per_user": len(labels) / len(cases),
            "sources": _sources(scored, labels, int(cases.truth.sizes.sum())),
        },
    }


def _systems(
    shop: ShopData,
    plan: Plan,
    cases: TestCases,
    scored: ScoredCandidates,
    lgb_raw: np.ndarray,
    blend: Blend,
    earlier: TestCases,
    config: TrainConfig,
) -> Iterator[tuple[str, np.ndarray]]:
    """Ranked lists of ours, its parts and the baselines, int32 (n_users, depth)."""
    depth = config.evaluation.cutoffs[-1]

    def ranked(scores: np.ndarray) -> np.ndarray:
        there = ~np.isnan(scores)
        return ranked_lists(scored.users[there], scored.items[there], scores[there], len(cases), depth)

    _, lgb, mf = blend(lgb_raw, scored.mf)
    yield HYBRID, ranked(mix(lgb, mf, blend.alpha))
    yield "ranker alone", ranked(lgb)
    yield "factorization alone", ranked(mf)
    now, before = cut(shop.end, plan.test), cut(shop.end, plan.valid)
    popular = popular_items(shop, plan.test, depth, config)
    yield "popularity", np.broadcast_to(popular, (len(cases), depth))
    half_life, _ = tuned_half_life(
        earlier, before, popular_items(shop, plan.valid, depth, config), k=config.evaluation.k
    )
    for days in dict.fromkeys((HALF_LIFE_DAYS, half_life)):
        lists = personal_frequency(cases.histories, now, popular, k=depth, half_life=days)
        yield f"personal frequency, {days:.0f} days", lists
    for at, name in enumerate(SOURCES):
        yield f"source {name}", ranked(scored.sources[:, at])


def popular_items(shop: ShopData, age: int, k: int, config: TrainConfig) -> np.ndarray:
    """The protocol's popularity as of a cut, int32 (k,)."""
    daily = shop.daily
    recent = (
        (daily.age >= age) & (daily.age < age + POPULARITY_DAYS) & np.isin(daily.event, config.target_codes)
    )
    counts = np.bincount(daily.item[recent], daily.count[recent], minlength=len(shop.items))
    return most_popular(counts, k)


def _new_items(
    lists: dict[str, np.ndarray],
    cases: TestCases,
    scored: ScoredCandidates,
    n_items: int,
    config: TrainConfig,
) -> list[Row]:
    """The table on items that are new to the user: truth and lists without the items of their history."""
    new, stay = protocol.new_items_only(cases)
    depth = config.evaluation.cutoffs[-1]
    rows = []
    for name, ranked in lists.items():
        fresh = protocol.without_seen(ranked[stay], new.histories, depth)
        warm = scored.warm[stay]
        rows += protocol.summary(name, fresh, new.truth, warm, n_items=n_items, config=config.evaluation)
    return rows


def _differences(lists: dict[str, np.ndarray], cases: TestCases, config: TrainConfig) -> list[Row]:
    """NDCG@k of the hybrid minus that of every other system, with the paired bootstrap interval."""
    k, sizes = config.evaluation.k, cases.truth.sizes
    values = {name: metrics.ndcg(metrics.hits(r, cases.truth), sizes, k) for name, r in lists.items()}
    rows: list[Row] = []
    for name, other in values.items():
        if name != HYBRID:
            difference = metrics.paired_difference(values[HYBRID], other, 0)
            rows.append(
                {"system": name, "mean": difference.mean, "low": difference.low, "high": difference.high}
            )
    return rows


def _sources(scored: ScoredCandidates, labels: np.ndarray, n_truth: int) -> list[Row]:
    """What each source contributes: its share of the union, and of the truth that it finds (alone)."""
    proposed = ~np.isnan(scored.sources)
    alone = proposed.sum(axis=1) == 1
    return [
        {
            "source": name,
            "share": float(proposed[:, at].mean()),
            "recall": float((proposed[:, at] & labels).sum() / n_truth),
            "recall_alone": float((proposed[:, at] & alone & labels).sum() / n_truth),
        }
        for at, name in enumerate(SOURCES)
    ]
