"""Groups of users: warm and cold ones, and users by the length of their history."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from recsys.evaluation import protocol
from recsys.report.drawing import Picture, counted, legend_below, percent
from recsys.report.inputs import PUBLISHED, EvaluationInputs
from recsys.report.numbers import Estimate, SystemRow, estimate
from recsys.report.section import QUALITY, Section, SectionSpec, Table
from recsys.report.systems import draw_groups, metrics_table, row_of, rows_to_draw
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUARTERS: Final = (0.25, 0.5, 0.75)


class Group(Config):
    """Test users with `low` to `high` events of history, and NDCG@k of some systems for them."""

    low: int
    high: int
    users: int
    systems: dict[str, Estimate]


class Numbers(Config):
    """Metrics by group of users.

    baseline: the best system that is no part of the published one
    table: rows of all, warm and cold users; activity: groups by the length of the history
    """

    k: int
    baseline: str
    table: tuple[SystemRow, ...]
    activity: tuple[Group, ...]


def collect(evaluation: EvaluationInputs) -> Numbers:
    return Numbers(
        k=evaluation.config.evaluation.k,
        baseline=evaluation.best_baseline,
        table=evaluation.table,
        activity=by_activity(evaluation),
    )


def activity_groups(lengths: np.ndarray) -> np.ndarray:
    """Group of each user by the length of the history, int64 (n_users,).

    Users without history are group 0, quarters of the others are groups 1 to 4. Users with equally long histories are
    in one group, so there may be fewer groups. lengths: int (n_users,).
    """
    some = lengths > 0
    edges = np.unique(np.quantile(lengths[some], QUARTERS, method="inverted_cdf")) if some.any() else np.zeros(0)
    groups = np.searchsorted(edges, lengths, side="left") + 1
    groups[~some] = 0
    return groups


def by_activity(evaluation: EvaluationInputs) -> tuple[Group, ...]:
    cases, settings = evaluation.cases, evaluation.config.evaluation
    lengths = cases.histories.lengths
    groups = activity_groups(lengths)
    systems = (PUBLISHED, *dict.fromkeys((evaluation.best_personal, "popularity")))
    metric = f"ndcg@{settings.k}"
    values = {name: protocol.per_user(metric, evaluation.lists[name], cases.truth) for name in systems}
    return tuple(
        Group(
            low=int(lengths[groups == group].min()),
            high=int(lengths[groups == group].max()),
            users=int((groups == group).sum()),
            systems={name: estimate(column[groups == group], settings) for name, column in values.items()},
        )
        for group in np.unique(groups)
    )


def section(numbers: Numbers) -> Section:
    k, metric = numbers.k, f"ndcg@{numbers.k}"
    pictures = [
        Picture(
            "warm-and-cold",
            f"NDCG@{k} of all, warm and cold users by system.",
            "The fewer users a group has, the wider its intervals.",
            lambda figure: draw_warm_and_cold(figure, numbers),
            4.0,
        ),
        Picture(
            "by-activity",
            f"NDCG@{k} by the number of events in the user's history.",
            "Users are split into quarters by the length of their history.",
            lambda figure: draw_activity(figure, numbers.activity, k),
            4.0,
        ),
    ]
    rows = [
        (f"{group.low:,} to {group.high:,}", group.users, name, ndcg.mean, ndcg.low, ndcg.high)
        for group in numbers.activity
        for name, ndcg in group.systems.items()
    ]
    tables = [
        metrics_table("Metrics of warm and of cold users", k, numbers.table, ("warm", "cold")),
        Table("By events in the history", ("events", "users", "system", metric, "low", "high"), rows),
    ]
    return Section(_text(numbers), pictures, tables)


def _text(numbers: Numbers) -> str:
    everyone, cold = (row_of(numbers.table, PUBLISHED, group) for group in ("all", "cold"))
    text = (
        f"{percent(cold.users / everyone.users)} of the test users are cold: they have no event "
        "on an item with a learned factor."
    )
    if len(numbers.activity) > 1:
        worst, best = (pick(numbers.activity, key=lambda group: group.systems[PUBLISHED].mean) for pick in (min, max))
        text += (
            f" The {PUBLISHED} is best for users with {_events(best)} of history ({best.systems[PUBLISHED].mean:.3f}) "
            f"and weakest for users with {_events(worst)} ({worst.systems[PUBLISHED].mean:.3f})."
        )
    return text


def _events(group: Group) -> str:
    if group.high == 0:
        return "no event"
    if group.low == group.high:
        return f"{counted(group.low)} events"
    return f"{counted(group.low)} to {counted(group.high)} events"


def draw_warm_and_cold(figure: "Figure", numbers: Numbers) -> None:
    metric = f"ndcg@{numbers.k}"
    systems = (PUBLISHED, *dict.fromkeys((numbers.baseline, "popularity")), "factorization alone")
    kept = [name for name in systems if name == PUBLISHED or row_of(numbers.table, name).bounds(metric)[0] > 0]
    bars = []
    for group in ("all", "warm", "cold"):
        rows = {row.system: row for row in rows_to_draw(numbers.table, metric, group)}
        if PUBLISHED in rows:
            title = f"{group}\n{counted(rows[PUBLISHED].users)} users"
            bars.append((title, {name: rows[name].bounds(metric) for name in kept if name in rows}))
    axes = figure.subplots()
    draw_groups(axes, bars, f"NDCG@{numbers.k}")
    axes.set_title("Warm and cold users")
    legend_below(axes, 2)


def draw_activity(figure: "Figure", groups: Sequence[Group], k: int) -> None:
    bars = [
        (f"{_span(group)}\n{counted(group.users)} users", {name: ndcg.bounds for name, ndcg in group.systems.items()})
        for group in groups
    ]
    axes = figure.subplots()
    draw_groups(axes, bars, f"NDCG@{k}")
    axes.set(xlabel="events in the history")
    axes.set_title("By the user's activity")
    legend_below(axes, 2)


def _span(group: Group) -> str:
    if group.high == 0:
        return "none"
    return str(group.low) if group.low == group.high else f"{counted(group.low)} to {counted(group.high)}"


SECTION: Final = SectionSpec(
    "groups", "Warm and cold users", QUALITY, Numbers, lambda run: collect(run.evaluation), section
)
