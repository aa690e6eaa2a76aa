"""How good the evaluated model is on the test window, for the report."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from recsys.arrays import find
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.evaluation import metrics as measures
from recsys.evaluation import protocol
from recsys.evaluation.curves import Ranking, Reliability, reliability
from recsys.evaluation.protocol import TestCases
from recsys.evaluation.table import ranks_below
from recsys.report import content
from recsys.report.collect.numbers import estimate, line, short
from recsys.schema import LGB_SCORE, MF_SCORE, SCORE, UNKNOWN
from recsys.training.context import Context
from recsys.training.plan import Plan
from recsys.training.ranker import SelectedRanker
from recsys.training.scoring import ScoredCandidates, labels_of
from recsys.training.systems import HYBRID, baseline_lists, baseline_scores, hybrid_lists, hybrid_scores
from recsys.training.validation import Validation

DEPTH: Final = 20
"""Of the curves of precision and recall."""
BINS: Final = 40
"""Of the distribution of scores."""
QUARTERS: Final = (0.25, 0.5, 0.75)

Scores = Mapping[str, np.ndarray]
"""Of the test candidates, by system, float64 (n,); NaN where there is none."""


def find_quality(
    shop: ShopData,
    plan: Plan,
    cases: TestCases,
    scored: ScoredCandidates,
    selected: SelectedRanker,
    validation: Validation,
    metrics: Mapping[str, Any],
    config: TrainConfig,
) -> content.Quality:
    """The report's part on quality; see `collect.find`."""
    context = Context(shop, plan, config, work="")
    settings, labels, n_truth = config.evaluation, labels_of(scored, cases), int(cases.truth.sizes.sum())
    ndcg = {row["system"]: row[f"ndcg@{settings.k}"] for row in metrics["table"] if row["group"] == "all"}
    best = max(metrics["half_lives"], key=ndcg.__getitem__)
    half_lives = {best: metrics["half_lives"][best]}
    ours = hybrid_scores(scored, 0, selected.blend)
    scores = ours | baseline_scores(context, cases, scored, half_lives)
    depth = max(DEPTH, settings.cutoffs[-1])
    deep_config = config.model_copy(update={"evaluation": settings.model_copy(update={"ks": (depth,)})})
    deep = replace(context, config=deep_config)
    [own] = hybrid_lists(deep, cases, replace(scored, lgb=scored.lgb[:1]), selected.blend)
    lists = {**own, **baseline_lists(deep, cases, half_lives)}
    baseline = max(("popularity", best), key=ndcg.__getitem__)
    met = Met(cases)
    seen = met(np.repeat(np.arange(len(cases)), cases.truth.sizes), cases.truth.items)
    calibrated = {SCORE: HYBRID, LGB_SCORE: "ranker alone", MF_SCORE: "factorization alone"}
    return content.Quality(
        k=settings.k,
        confidence=settings.confidence,
        test_days=settings.test_days,
        seeds=settings.seeds,
        ours=HYBRID,
        baseline=baseline,
        users=len(cases),
        candidates=metrics["candidates"]["per_user"],
        recall=metrics["candidates"]["recall"],
        scored=float(np.mean(~np.isnan(scored.mf))) if len(scored.mf) else 0.0,
        table=tuple(metrics["table"]),
        new_items=tuple(metrics["new_items"]),
        differences=tuple(metrics["differences"]),
        activity=activity(lists, (HYBRID, *dict.fromkeys((best, "popularity"))), cases, config),
        repeat_share=float(seen.mean()),
        found=found(lists, cases, scored, labels, met, seen, settings.k),
        at_k={name: at_k(ranked, cases) for name, ranked in lists.items()},
        classified=classified(scores, labels),
        confusion=confusion(scores[HYBRID], labels, validation, selected, n_truth),
        calibration=calibration({name: ours[system] for name, system in calibrated.items()}, labels),
        distribution=distribution(scores[HYBRID], labels),
    )


def activity_groups(lengths: np.ndarray) -> np.ndarray:
    """Group of each user by the length of the history, int64 (n_users,): 0 without one, then quarters of the others.

    Equal lengths are in one group, so there may be fewer.
    """
    some = lengths > 0
    edges = np.unique(np.quantile(lengths[some], QUARTERS, method="inverted_cdf")) if some.any() else np.zeros(0)
    place = np.searchsorted(edges, lengths, side="left") + 1
    place[~some] = 0
    return place


def activity(
    lists: Mapping[str, np.ndarray], systems: tuple[str, ...], cases: TestCases, config: TrainConfig
) -> tuple[content.Group, ...]:
    lengths, settings = cases.histories.lengths, config.evaluation
    groups = activity_groups(lengths)
    values = {name: protocol.per_user(f"ndcg@{settings.k}", lists[name], cases.truth) for name in systems}
    return tuple(
        content.Group(
            low=int(lengths[groups == group].min()),
            high=int(lengths[groups == group].max()),
            users=int((groups == group).sum()),
            systems={name: estimate(column[groups == group], settings) for name, column in values.items()},
        )
        for group in np.unique(groups)
    )


class Met:
    """Which items are in the histories of their users; asked many times, so their pairs are put in order once."""

    def __init__(self, cases: TestCases) -> None:
        history = cases.histories
        self._width = 1 + max(int(items.max(initial=0)) for items in (history.items, cases.truth.items))
        self._pairs = np.unique(history.rows * self._width + history.items)

    def __call__(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """bool (n_pairs,); users: int64, positions in the cases; items: codes that are in a history or in the truth"""
        return np.asarray(find(self._pairs, users * self._width + items) != UNKNOWN)


def found(
    lists: Mapping[str, np.ndarray],
    cases: TestCases,
    scored: ScoredCandidates,
    labels: np.ndarray,
    met: Met,
    seen: np.ndarray,
    k: int,
) -> tuple[content.Found, ...]:
    """Pooled recall at k of items that users had and had not had; first of all candidates, the most that is possible.

    seen: bool (n_truth,), items of the truth that were in the history
    """
    totals = int(seen.sum()), int((~seen).sum())
    rows = [("all candidates", met(scored.users[labels], scored.items[labels]))]
    for name, ranked in lists.items():
        users, place = np.nonzero(measures.hits(ranked[:, :k], cases.truth))
        rows.append((name, met(users, ranked[users, place])))
    return tuple(
        content.Found(
            system=name,
            repeat=float(own.sum() / totals[0]) if totals[0] else None,
            new=float((~own).sum() / totals[1]) if totals[1] else None,
        )
        for name, own in rows
    )


def at_k(ranked: np.ndarray, cases: TestCases) -> content.AtK:
    hits = np.cumsum(measures.hits(ranked, cases.truth)[:, :DEPTH], axis=1)
    width = hits.shape[1]
    return content.AtK(
        precision=short(hits.mean(axis=0) / np.arange(1, width + 1)),
        recall=short((hits / cases.truth.sizes[:, None]).mean(axis=0)),
    )


def classified(scores: Scores, labels: np.ndarray) -> dict[str, content.Classified]:
    """What the scores of each system are worth on the same candidates; one without a score ranks below the others."""
    systems = {}
    for name, values in scores.items():
        if np.isnan(values).all():
            continue
        complete = ranks_below(values)
        ranking = Ranking.from_scores(labels, complete)
        roc, curve = ranking.roc(), ranking.precision_recall()
        if roc is None or curve is None:
            continue
        systems[name] = content.Classified(
            roc=line(roc),
            roc_auc=measures.roc_auc(labels, complete),
            precision_recall=line(curve),
            average_precision=measures.average_precision(labels, complete),
        )
    return systems


def confusion(
    scores: np.ndarray, labels: np.ndarray, validation: Validation, selected: SelectedRanker, n_truth: int
) -> content.Confusion | None:
    """At the threshold of the best F1 on the validation window; None where the test candidates hold no hit."""
    before, _, _ = selected.blend(selected.scores, validation.candidates.mf)
    best = Ranking.from_scores(validation.rows.labels > 0, before).best_f1()
    if best is None or not len(scores):
        return None
    threshold, f1 = best
    chosen = scores >= threshold
    return content.Confusion(
        threshold=threshold,
        f1=f1,
        true_positives=int((chosen & labels).sum()),
        false_positives=int((chosen & ~labels).sum()),
        false_negatives=int((~chosen & labels).sum()),
        true_negatives=int((~chosen & ~labels).sum()),
        missed=n_truth - int(labels.sum()),
    )


def calibration(scores: Scores, labels: np.ndarray) -> dict[str, content.Calibrated]:
    """Reliability of each score where there is one."""
    there = {name: ~np.isnan(values) for name, values in scores.items()}
    bins = {name: reliability(labels[there[name]], values[there[name]]) for name, values in scores.items()}
    return {name: _calibrated(found) for name, found in bins.items() if found is not None}


def _calibrated(found: Reliability) -> content.Calibrated:
    bounds = zip(*(short(part) for part in (found.observed, found.low, found.high)), strict=True)
    return content.Calibrated(
        predicted=short(found.predicted),
        observed=tuple(content.Estimate(mean=mean, low=low, high=high) for mean, low, high in bounds),
        counts=tuple(found.counts.tolist()),
        error=found.error,
    )


def distribution(scores: np.ndarray, labels: np.ndarray) -> content.Distribution | None:
    """Scores on a logarithmic scale; None unless hits and misses are there and their scores differ."""
    if not labels.any() or labels.all() or scores.max() <= scores.min():
        return None
    low = max(float(np.quantile(scores, 0.01)), 1e-9)
    edges = np.geomspace(min(low, float(scores.max()) / 2), float(scores.max()), BINS + 1)
    within = np.clip(scores, edges[0], edges[-1])
    hits, misses = (np.histogram(within[which], edges)[0] / which.sum() for which in (labels, ~labels))
    return content.Distribution(edges=short(edges), hits=short(hits), misses=short(misses))
