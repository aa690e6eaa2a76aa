"""Examples: a few test users, their newest events, and what would have been recommended to them."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.arrays import belongs, order_within
from recsys.ids import draw
from recsys.report.drawing import several
from recsys.report.inputs import EvaluationInputs
from recsys.report.section import USERS, Section, SectionSpec
from recsys.report.sections.groups import activity_groups
from recsys.schema import EVENT_TYPES, UNKNOWN, Config

SHOWN: Final = 8
"""Newest events and recommended items of a user, at most."""
COLD: Final = -1
"""Group of the cold users."""
TEMPLATE: Final = "sections/examples.html"


class HistoryEvent(Config):
    """An event before the cut; time: ms."""

    time: int
    event: str
    item: str
    category: str | None


class Recommended(Config):
    """A recommended item.

    score: the blend of lgb and mf; sources: names of those that proposed the item
    seen: whether the item is in the history; hit: whether it was chosen in the test window
    """

    item: str
    category: str | None
    score: float
    lgb: float
    mf: float | None
    sources: tuple[str, ...]
    seen: bool
    hit: bool


class ExampleUser(Config):
    """A test user.

    events: of the whole history; newest: the last ones of them
    chosen: number of items chosen in the test window; hits: of these, the recommended ones
    """

    user: str
    warm: bool
    events: int
    newest: tuple[HistoryEvent, ...]
    recommended: tuple[Recommended, ...]
    chosen: int
    hits: int


class Numbers(Config):
    """Warm users from few events to many, then a cold one."""

    users: tuple[ExampleUser, ...]


def collect(evaluation: EvaluationInputs) -> Numbers:
    reader = _Reader(evaluation, evaluation.data.shop.catalog.as_of(evaluation.data.plan.test.time).category)
    return Numbers(users=tuple(reader.example(user) for user in draw_users(evaluation)))


def draw_users(evaluation: EvaluationInputs) -> list[int]:
    """One warm user of each group of activity and one cold user, drawn by hash; positions in the cases."""
    cases, warm = evaluation.cases, evaluation.scored.warm
    groups = np.where(warm, activity_groups(cases.histories.lengths), COLD)
    order = sorted(set(groups.tolist()) - {COLD}) + [COLD] * bool((groups == COLD).any())
    drawn = draw(cases.users, "report", evaluation.config.seed)
    return [int(np.flatnonzero(groups == group)[np.argmin(drawn[groups == group])]) for group in order]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns positions of users and codes of items into an example.

    category: of each item as of the cut, int (n_items,)
    """

    evaluation: EvaluationInputs
    category: np.ndarray

    def example(self, user: int) -> ExampleUser:
        cases, warm = self.evaluation.cases, self.evaluation.scored.warm
        recommended = self._recommended(user)
        return ExampleUser(
            user=str(cases.users[user].as_py()),
            warm=bool(warm[user]),
            events=int(cases.histories.lengths[user]),
            newest=self._newest(user),
            recommended=recommended,
            chosen=int(cases.truth.sizes[user]),
            hits=sum(item.hit for item in recommended),
        )

    def _newest(self, user: int) -> tuple[HistoryEvent, ...]:
        history = self.evaluation.cases.histories.take(np.array([user]))
        last = np.arange(len(history.items))[::-1][:SHOWN]
        return tuple(
            HistoryEvent(
                time=int(history.times[index]),
                event=EVENT_TYPES[history.events[index]],
                item=self._item(history.items[index]),
                category=self._category(history.items[index]),
            )
            for index in last.tolist()
        )

    def _recommended(self, user: int) -> tuple[Recommended, ...]:
        scored, names = self.evaluation.scored, np.array(self.evaluation.source_names)
        rows = np.flatnonzero(scored.users == user)
        scores, lgb, mf = self.evaluation.selected.blend(scored.lgb[0, rows], scored.mf[rows])
        one_user = np.zeros(len(rows), np.int64)
        best = order_within(one_user, scores, scored.items[rows])[:SHOWN]
        history = self.evaluation.cases.histories.take(np.array([user]))
        seen = belongs(one_user, scored.items[rows], history.offsets, history.items)
        return tuple(
            Recommended(
                item=self._item(scored.items[rows[index]]),
                category=self._category(scored.items[rows[index]]),
                score=float(scores[index]),
                lgb=float(lgb[index]),
                mf=None if np.isnan(mf[index]) else float(mf[index]),
                sources=tuple(names[~np.isnan(scored.source_scores[rows[index]])].tolist()),
                seen=bool(seen[index]),
                hit=bool(self.evaluation.labels[rows[index]]),
            )
            for index in best.tolist()
        )

    def _item(self, item: int) -> str:
        return str(self.evaluation.data.shop.items[int(item)])

    def _category(self, item: int) -> str | None:
        code = int(self.category[item])
        return None if code == UNKNOWN else str(self.evaluation.data.shop.catalog.categories[code])


def section(numbers: Numbers) -> Section:
    users = numbers.users
    with_hit = sum(user.hits > 0 for user in users)
    cold = "; the last one is cold" if users and not users[-1].warm else ""
    text = (
        f"{several(len(users), 'user')} drawn by a hash of the ids, from few events to many{cold}. {with_hit} of them "
        "chose one of the items below in the test window. Score is the blend of lgb and mf."
    )
    return Section(text, template=TEMPLATE, values=users)


SECTION: Final = SectionSpec("examples", "Real users", USERS, Numbers, lambda run: collect(run.evaluation), section)
