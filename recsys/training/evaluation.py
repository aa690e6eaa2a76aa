"""The test window: the evaluated model beside its parts and the baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import ray

from recsys.evaluation import metrics, protocol
from recsys.evaluation.protocol import TestCases
from recsys.evaluation.table import Row, summary, with_classification, with_seed_spread
from recsys.models.blend import Blend
from recsys.models.rankers.registry import Ranker
from recsys.schema import Objective
from recsys.training.context import Context
from recsys.training.preparation import RankerInputs
from recsys.training.ranker import SelectedRanker, SelectedRankers
from recsys.training.refit import refit_before_test
from recsys.training.results import CandidateSummary, Evaluation, Lead, SourceContribution
from recsys.training.scoring import ScoredCandidates, Scoring, find_cases, labels_of, score_users
from recsys.training.systems import (
    HYBRID,
    POPULARITY,
    Lists,
    baseline_lists,
    baseline_scores,
    hybrid_lists,
    hybrid_scores,
    popular_items,
    source_lists,
    tuned_half_lives,
)

MOST_SEEN: Final = 500
"""Popular items beyond a list's length, so that the popularity baseline fills its list of new items for users who have
seen many popular ones."""


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """Users of the test window with their candidates, scored by rankers trained up to the window.

    rankers: one for each seed, in the order of the scores
    """

    cases: TestCases
    scored: ScoredCandidates
    blend: Blend
    rankers: Sequence[Ranker]


def evaluate_rankers(
    context: Context, inputs: RankerInputs, selected: SelectedRankers
) -> tuple[ScoredWindow, Evaluation]:
    """The test window scored by the ranker of all items, and the metrics of every system on it."""
    window = score_test_window(context, inputs, selected.all_items)
    discovery = score_discovery(context, inputs, selected, window)
    return window, evaluate(context, window, discovery, earlier=ray.get(inputs.validation).cases)


def score_test_window(context: Context, inputs: RankerInputs, selected: SelectedRanker) -> ScoredWindow:
    """The test window with candidates among all items, scored by one ranker for each of evaluation.seeds."""
    settings = context.config.evaluation
    cases = find_cases(context, context.plan.test, context.config.test_days)
    rankers = refit_before_test(context, inputs, selected, settings.seeds)
    return ScoredWindow(cases, score_cases(context, inputs, cases, rankers, "all"), selected.blend, rankers)


def score_discovery(
    context: Context, inputs: RankerInputs, selected: SelectedRankers, window: ScoredWindow, n_seeds: int = 1
) -> ScoredWindow | None:
    """The test window with candidates new to each user, scored by the ranker that serves such items.

    Only users who chose a new item are kept, and only new items of their truth. None if there are no such users.
    window: the test window with all items; n_seeds: number of rankers that score, at most evaluation.seeds
    """
    cases, _ = protocol.new_items_only(window.cases)
    if not len(cases):
        return None
    discovery = selected.discovery
    if discovery is None:
        rankers, blend = window.rankers[:n_seeds], window.blend
    else:
        inputs, blend = discovery.inputs, discovery.selected.blend
        rankers = refit_before_test(context, inputs, discovery.selected, n_seeds)
    return ScoredWindow(cases, score_cases(context, inputs, cases, rankers, "discover"), blend, rankers)


def score_cases(
    context: Context,
    inputs: RankerInputs,
    cases: TestCases,
    rankers: Sequence[Ranker],
    objective: Objective,
    *,
    keep_features: bool = False,
) -> ScoredCandidates:
    """Candidates of users of the test window, as of its cut, with the raw scores of each ranker."""
    config, now = context.config, context.plan.test.time
    scoring = Scoring(now, objective, inputs.prerankers, config.inference, config.ranker.backend, keep_features)
    return score_users(cases.histories, inputs.tables[context.plan.test], rankers, scoring)


def evaluate(
    context: Context, window: ScoredWindow, discovery: ScoredWindow | None, earlier: TestCases | None
) -> Evaluation:
    """The metrics of every system on the test window.

    discovery: the window of items new to the user; None if nobody chose such an item
    earlier: cases of the validation window, on which the personal baseline's half-life is tuned; None not to tune it
    """
    cases, scored, settings = window.cases, window.scored, context.config.evaluation
    half_lives = tuned_half_lives(context, earlier)
    others = baseline_lists(context, cases, half_lives) | source_lists(context, cases, scored)
    ours = hybrid_lists(context, cases, scored, window.blend)
    other_rows = _summaries(context, others, cases, scored.warm)
    runs = [_summaries(context, lists, cases, scored.warm) + other_rows for lists in ours]
    labels = labels_of(scored, cases)
    scores = hybrid_scores(scored, 0, window.blend) | baseline_scores(context, cases, scored, half_lives)
    table = with_seed_spread(runs, settings.k)
    return Evaluation(
        table=with_classification(table, scores, labels, scored.users, scored.warm),
        new_items=_new_items(context, window, half_lives) + _discovered(context, discovery),
        leads=_leads(context, {**ours[0], **others}, cases),
        half_lives=half_lives,
        candidates=CandidateSummary(
            recall=float(labels.sum() / cases.truth.sizes.sum()),
            per_user=len(labels) / len(cases),
            sources=_contributions(context, scored, labels, int(cases.truth.sizes.sum())),
        ),
    )


def _summaries(context: Context, lists: Lists, cases: TestCases, warm: np.ndarray) -> list[Row]:
    settings, n_items = context.config.evaluation, len(context.shop.items)
    return [
        row
        for name, ranked in lists.items()
        for row in summary(name, ranked, cases.truth, warm, n_items=n_items, config=settings)
    ]


def _new_items(context: Context, window: ScoredWindow, half_lives: Mapping[str, float]) -> list[Row]:
    """Rows over items new to the user: candidates and truth without the items of the user's history."""
    cases, scored, depth = window.cases, window.scored, context.config.evaluation.cutoffs[-1]
    [ours, *_] = hybrid_lists(context, cases, scored, window.blend, new_only=True)
    lists = {**ours, **source_lists(context, cases, scored, new_only=True)}
    popular = popular_items(context, context.plan.test, depth + MOST_SEEN)
    everywhere = np.broadcast_to(popular, (len(cases), len(popular)))
    lists[POPULARITY] = protocol.without_seen(everywhere, cases.histories, depth)
    # Without the user's own items, personal frequency has only the popular items that fill its lists up.
    lists |= dict.fromkeys(half_lives, lists[POPULARITY])
    remaining, kept = protocol.new_items_only(cases)
    return _summaries(context, {name: ranked[kept] for name, ranked in lists.items()}, remaining, scored.warm[kept])


def _discovered(context: Context, discovery: ScoredWindow | None) -> list[Row]:
    """Rows of the hybrid that serves items new to the user, and of its parts."""
    if discovery is None:
        return []
    [lists, *_] = hybrid_lists(context, discovery.cases, discovery.scored, discovery.blend)
    named = {f"{name}, objective discover": ranked for name, ranked in lists.items()}
    return _summaries(context, named, discovery.cases, discovery.scored.warm)


def _leads(context: Context, lists: Lists, cases: TestCases) -> list[Lead]:
    """The hybrid's NDCG@k minus that of every other system, with the paired bootstrap interval."""
    settings = context.config.evaluation
    values = {name: protocol.per_user(f"ndcg@{settings.k}", ranked, cases.truth) for name, ranked in lists.items()}
    return [
        Lead(name, metrics.paired_difference(values[HYBRID], other, settings.resampling))
        for name, other in values.items()
        if name != HYBRID
    ]


def _contributions(
    context: Context, scored: ScoredCandidates, labels: np.ndarray, n_truth: int
) -> list[SourceContribution]:
    names = context.config.inference.candidates.source_names
    proposed = ~np.isnan(scored.source_scores)
    alone = proposed.sum(axis=1) == 1
    return [
        SourceContribution(
            source=name,
            fraction=float(own.sum() / max(len(own), 1)),
            recall=float((own & labels).sum() / n_truth),
            recall_alone=float((own & alone & labels).sum() / n_truth),
        )
        for name, own in zip(names, proposed.T, strict=True)
    ]
