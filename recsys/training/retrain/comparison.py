"""The comparison of a challenger with production on a window that neither of them has seen."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from recsys import console
from recsys.config import TrainConfig, changed
from recsys.data.ingest import ShopData
from recsys.errors import TooLittleData
from recsys.evaluation.protocol import TestCases, per_user
from recsys.gates.decision import Figures, Verdict
from recsys.registry.decisions import Comparison, Opponent
from recsys.schema import DAY
from recsys.training.context import Context
from recsys.training.evaluation import ScoredWindow, score_cases
from recsys.training.from_log import from_log
from recsys.training.plan import make_plan
from recsys.training.preparation import build_inputs
from recsys.training.ranker import select_rankers
from recsys.training.refit import refit_before_test
from recsys.training.retrain.production import Production, version_lists
from recsys.training.scoring import find_cases
from recsys.training.systems import HYBRID, hybrid_lists

OTHER_SECTIONS: Final = ("evaluation", "data", "sessions", "related", "phases", "retrain")
"""Sections of settings that do not change the compared model."""


@dataclass(frozen=True, slots=True)
class Match:
    """The comparison that a run will make.

    config: the challenger's settings; their test window is the window of the comparison
    opponent: the model that stands for production; why: in words
    """

    config: TrainConfig
    opponent: Opponent
    why: str


def plan_match(shop: ShopData, config: TrainConfig, production: Production, work: str) -> Match:
    """The comparison for these data: on the events after production's newest one if they are enough, else on a refit.

    Production's targets are the challenger's where the settings leave them open.
    work: see Context
    """
    if config.targets is None:
        config = changed(config, {"targets": list(production.opened.manifest.targets)})
    usual = from_log(shop, config).config
    fresh = _on_fresh_events(shop, usual, production, work)
    if isinstance(fresh, Match):
        return fresh
    if _model_settings(shop, usual) == _model_settings(shop, production.config):
        return Match(usual, "same settings", fresh)
    return Match(usual, "refit", fresh)


def _on_fresh_events(shop: ShopData, usual: TrainConfig, production: Production, work: str) -> Match | str:
    """The comparison on the events after production's newest one, or why these are not enough.

    usual: the challenger's settings with the windows that the log suggests
    """
    settings, opened = usual.retrain, production.opened
    if (opened.snapshot.users.kind, opened.items.kind) != (shop.user_kind, shop.items.kind):
        return "the type of the ids is another than production's"
    gap = max(0.0, (shop.end - production.watermark) / DAY)
    days = min(int(gap), settings.max_days)
    if days < settings.min_days:
        return f"the events after production's newest event span {gap:.1f} days, fewer than {settings.min_days}"
    if days > usual.test_days and not _fits(shop, usual, days):
        days = usual.test_days
    config = changed(usual, {"evaluation.test_days": days})
    users = _users(shop, config, work)
    if users < min(settings.min_users, config.evaluation.max_users):
        return (
            f"{users} users have a target event in the {days} days after production's newest event, fewer than "
            f"{settings.min_users}"
        )
    return Match(config, "version", f"it has not seen the newest {days} days")


def _fits(shop: ShopData, usual: TrainConfig, days: int) -> bool:
    """Whether a ranker can be trained before a test window of some days."""
    try:
        make_plan(shop.start, shop.end, changed(usual, {"evaluation.test_days": days}))
    except TooLittleData:
        return False
    return True


def _users(shop: ShopData, config: TrainConfig, work: str) -> int:
    """The users of the test window."""
    context = Context.without_training(shop, config, work)
    try:
        return len(find_cases(context, context.plan.test, config.test_days))
    except TooLittleData:
        return 0


def _refitted(settings: TrainConfig, challenger: TrainConfig) -> TrainConfig:
    """Production's settings on the challenger's test window: the ranker of all items with one seed."""
    tree: dict[str, Any] = {
        "evaluation": {**challenger.evaluation.model_dump(mode="json"), "seeds": 1},
        "data.partitions": challenger.data.partitions,
    }
    return changed(settings, tree)


def _model_settings(shop: ShopData, config: TrainConfig) -> dict[str, Any]:
    """The settings that change the compared model, on these data."""
    tree = Context.without_training(shop, config, "").config.model_dump(mode="json", exclude=set(OTHER_SECTIONS))
    del tree["examples"]["discover"]
    return tree


def compare(
    challenger: Context, window: ScoredWindow, match: Match, production: Production, registry: str
) -> tuple[Verdict, Comparison]:
    """The decision about a challenger on its test window, with the figures.

    challenger, window: of its training, see `evaluate_rankers`; registry: a URI that is valid on every node
    Raises TooLittleData if nothing can be learned from production's settings.
    """
    settings, cases = challenger.config.evaluation, window.cases
    own = hybrid_lists(challenger, cases, window.scored, window.blend)[0][HYBRID][:, : settings.k]
    with console.step(f"recommend from production: {match.opponent}"):
        other = _opponent(challenger, own.shape[1], match, production, cases, registry)
    metric = f"ndcg@{settings.k}"
    ours, theirs = (per_user(metric, lists, cases.truth) for lists in (own, other))
    figures = Figures.create(ours, theirs, challenger.config.retrain.margin, settings.resampling)
    enough = min(challenger.config.retrain.min_users, settings.max_users)
    return figures.verdict_of(len(cases), enough), Comparison(
        metric=metric,
        users=len(cases),
        start=challenger.plan.test.time,
        end=challenger.shop.end,
        targets=challenger.config.target_types,
        opponent=match.opponent,
        why=match.why,
        challenger=figures.challenger,
        production=figures.production,
        difference=figures.difference.mean,
        low=figures.difference.low,
        high=figures.difference.high,
        margin=challenger.config.retrain.margin,
        bound=figures.bound,
    )


def _opponent(
    challenger: Context, k: int, match: Match, production: Production, cases: TestCases, registry: str
) -> np.ndarray:
    """The lists of the model that stands for production, int32 (n_users, k)."""
    if match.opponent == "version":
        return version_lists(production, registry, challenger.shop.items, cases, challenger.plan.test.time, k)
    return refit_lists(challenger, production, cases)[:, :k]


def refit_lists(challenger: Context, production: Production, cases: TestCases) -> np.ndarray:
    """The lists of production's settings, refitted as of the challenger's test cut, int32 (n_users, depth)."""
    config = changed(_refitted(production.config, challenger.config), {"examples.discover": False})
    context = Context.create(challenger.shop, config, challenger.work)
    # Nothing after the test cut is needed: this model is not published.
    context = replace(context, plan=replace(context.plan, refit=(), newest=context.plan.test))
    inputs = build_inputs(context)
    selected = select_rankers(context, inputs).all_items
    rankers = refit_before_test(context, inputs, selected, n_seeds=1)
    scored = score_cases(context, inputs, cases, rankers, "all")
    return hybrid_lists(context, cases, scored, selected.blend)[0][HYBRID]
