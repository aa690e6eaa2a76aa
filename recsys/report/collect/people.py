"""A few real users of the test window with what would have been recommended to them, for the report."""

from typing import Final

import numpy as np

from recsys.arrays import belongs, order_within
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.evaluation.protocol import TestCases
from recsys.ids import hashes
from recsys.models.blend import Blend
from recsys.report import content
from recsys.report.collect.quality import activity_groups
from recsys.retrieval.sources.registry import SOURCES as REGISTRY
from recsys.schema import EVENT_TYPES, UNKNOWN
from recsys.timeline import cut
from recsys.training.plan import Plan
from recsys.training.scoring import ScoredCandidates, labels_of

SALT: Final = 5
"""Keeps this choice of users apart from others by hash."""
SHOWN: Final = 8
"""Newest events, and recommended items."""


def find_people(
    shop: ShopData, plan: Plan, cases: TestCases, scored: ScoredCandidates, blend: Blend, config: TrainConfig
) -> tuple[content.Person, ...]:
    """One warm user of each activity, and one cold user, where there are such, chosen by hash."""
    groups = np.where(scored.warm, activity_groups(cases.histories.lengths), -1)
    # The cold one last; a warm user has a history, so that group 0 has none of them.
    order = [*(group for group in np.unique(groups) if group >= 0), *([-1] if (groups < 0).any() else [])]
    drawn = hashes(cases.users, 2 * config.seed + SALT)
    chosen = [int(np.flatnonzero(groups == group)[np.argmin(drawn[groups == group])]) for group in order]
    category = shop.catalog.as_of(cut(shop.end, plan.test)).category
    labels = labels_of(scored, cases)
    return tuple(_person(user, shop, category, cases, scored, labels, blend) for user in chosen)


def _person(
    user: int,
    shop: ShopData,
    category: np.ndarray,
    cases: TestCases,
    scored: ScoredCandidates,
    labels: np.ndarray,
    blend: Blend,
) -> content.Person:
    def name_of(item: int) -> str | None:
        code = int(category[item])
        return None if code == UNKNOWN else str(shop.catalog.categories[code])

    own = np.flatnonzero(scored.users == user)
    scores, lgb, mf = blend(scored.lgb[0, own], scored.mf[own])
    best = order_within(np.zeros(len(own), np.int64), scores, scored.items[own])[:SHOWN]
    history = cases.histories.take(np.array([user]))
    seen = belongs(np.zeros(len(own), np.int64), scored.items[own], history.offsets, history.items)
    newest = range(len(history.items) - 1, max(len(history.items) - 1 - SHOWN, -1), -1)
    return content.Person(
        user=str(cases.users[user].as_py()),
        warm=bool(scored.warm[user]),
        events=len(history.items),
        newest=tuple(
            content.Happened(
                time=int(history.times[at]),
                event=EVENT_TYPES[history.events[at]],
                item=str(shop.items[int(history.items[at])]),
                category=name_of(int(history.items[at])),
            )
            for at in newest
        ),
        recommended=tuple(
            content.Recommended(
                item=str(shop.items[int(scored.items[own[at]])]),
                category=name_of(int(scored.items[own[at]])),
                score=float(scores[at]),
                lgb=float(lgb[at]),
                mf=None if np.isnan(mf[at]) else float(mf[at]),
                sources=tuple(np.array(REGISTRY.names)[~np.isnan(scored.source_scores[own[at]])].tolist()),
                seen=bool(seen[at]),
                hit=bool(labels[own[at]]),
            )
            for at in best.tolist()
        ),
        chosen=int(cases.truth.sizes[user]),
        found=int(labels[own[best]].sum()),
    )
