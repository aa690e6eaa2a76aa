"""The numbers of a report of the small shop."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.report import page
from recsys.report.inputs import DataInputs
from recsys.report.model import Report, parse
from recsys.report.sections import (
    ablation,
    baselines,
    calibration,
    candidates,
    classifier,
    days,
    discovery,
    examples,
    features,
    funnel,
    groups,
    items,
    lists,
    spread,
    sweep,
)
from recsys.schema import CART, DAY, EVENT_TYPES, PURCHASE, VIEW
from tests.support.features import FEATURES, SOURCES
from tests.support.reports import SWEEP, TRIALS, bare_run, small_run, sweep_of
from tests.support.shop_data import DAYS, END, START, USERS, events
from tests.support.world import small_config

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def report(ray_session: None) -> Report:
    return small_run().report(SWEEP)


def test_steps_and_events_of_two_users() -> None:
    """One looks at two items, puts one of them into the cart and buys it; the other buys without a look."""
    histories = Histories.build(
        np.array([0, 0, 0, 0, 1]), np.array([5, 7, 7, 7, 5]), np.array([VIEW, VIEW, CART, PURCHASE, PURCHASE]),
        np.arange(5), 2,
    )  # fmt: skip
    partition = UserPartition(pa.array([10, 20]), histories)
    counts = spread.count_events(partition)
    assert (counts.sizes.tolist(), counts.counts.tolist()) == ([1, 4], [1, 1])
    users, pairs = (funnel.funnel(by_set) for by_set in funnel.count_sets(partition))
    assert users.steps == EVENT_TYPES
    assert (users.have, users.through) == ((1, 1, 2), (1, 1, 1))
    assert (pairs.have, pairs.through) == ((2, 1, 2), (2, 1, 1))
    empty = UserPartition(pa.array([], pa.int64()), histories.take(np.zeros(0, np.int64)))
    assert [by_set.sum() for by_set in funnel.count_sets(empty)] == [0, 0]
    assert spread.count_events(empty).total == 0


def test_the_data_are_described(report: Report) -> None:
    log, rows = report.get(days.SECTION), set(events())
    assert log.events == {kind: sum(row.event == kind for row in rows) for kind in EVENT_TYPES}
    assert (log.start, log.end, report.head.users) == (START, END, USERS)
    assert log.daily.step == 1
    for kind in EVENT_TYPES:
        assert sum(log.daily.events[kind]) == pytest.approx(log.events[kind], abs=2)  # but for the first moment
        assert len(log.daily.events[kind]) == len(log.daily.starts) == DAYS
    assert [(window.name, window.end) for window in log.windows] == [("validation", END - 14 * DAY), ("test", END)]
    steps = report.get(funnel.SECTION)
    assert steps.users.have[0] == USERS
    assert steps.pairs.through[-1] <= steps.pairs.have[-1]
    assert report.get(spread.SECTION).users.total == USERS
    catalog = report.get(items.SECTION)
    assert sum(row.fractions["view"] for row in catalog.categories) == pytest.approx(1, abs=0.1)
    assert {row.name: row.items for row in catalog.coverage}["available at the end"] == 58


def test_a_long_log_is_summed_over_weeks() -> None:
    shop = small_run().shop
    rare = replace(shop.daily, age=shop.daily.age * 9)
    longer = replace(shop, start=shop.end - 9 * DAYS * DAY, daily=rare)
    daily = days.daily_events(DataInputs(replace(small_run().context, shop=longer)))
    assert daily.step == 7
    assert len(daily.starts) <= 9 * DAYS / 7 + 1
    assert sum(daily.events["view"]) * 7 == pytest.approx(shop.event_counts["view"], rel=0.01)


def test_groups_of_activity() -> None:
    assert groups.activity_groups(np.array([0, 1, 1, 2, 3, 4, 5, 6, 90])).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert groups.activity_groups(np.array([0, 0])).tolist() == [0, 0]
    assert groups.activity_groups(np.array([7, 7, 7])).tolist() == [1, 1, 1]


def test_quality_agrees_with_the_metrics(report: Report) -> None:
    row = small_run().evaluation.metrics.row("hybrid")
    ours = row.metrics
    at_k = report.get(lists.SECTION).systems["hybrid"]
    assert at_k.precision[9] == pytest.approx(ours["precision@10"], rel=1e-3)
    assert at_k.recall[19] == pytest.approx(ours["recall@20"], rel=1e-3)
    assert report.get(classifier.SECTION).systems["hybrid"].roc_auc == pytest.approx(ours["roc_auc"])
    activity, users = report.get(groups.SECTION).activity, report.get(baselines.SECTION).users
    assert sum(group.users for group in activity) == users == row.users
    mean = sum(group.users * group.systems["hybrid"].mean for group in activity) / users
    assert mean == pytest.approx(ours["ndcg@10"])
    assert report.head.ndcg.mean == ours["ndcg@10"]
    matrix = report.get(classifier.SECTION).confusion
    assert matrix is not None
    assert matrix.hits + matrix.missed == small_run().cases.truth.sizes.sum()
    everything, hybrid = (
        next(row for row in report.get(discovery.SECTION).recall if row.system == name)
        for name in ("all candidates", "hybrid")
    )
    assert everything.new is not None
    assert hybrid.new is not None
    assert hybrid.new <= everything.new
    assert set(report.get(calibration.SECTION).scores) == {"score", "lgb_score", "mf_score"}


def test_shuffling_costs_what_the_ranker_relies_on(report: Report) -> None:
    """The ranker learned which items are in the user's history."""
    losses = {row.name: row for row in report.get(ablation.SECTION).groups}
    assert set(losses) == {feature.group for feature in FEATURES}
    assert sum(row.features for row in losses.values()) == len(FEATURES)
    assert sum(row.gain for row in losses.values()) == pytest.approx(1)
    assert losses["time"].lost.mean == pytest.approx(0, abs=0.05)
    assert [row.name for row in report.get(ablation.SECTION).sources] == list(SOURCES)
    assert [row.name for row in report.get(candidates.SECTION).sources] == list(SOURCES)
    added = report.get(features.SECTION).contributions
    assert added[0].mean >= added[-1].mean > 0
    assert all(0 <= rank <= 100 for row in added for rank in row.percentiles if rank is not None)


def test_collecting_changes_nothing() -> None:
    before = small_run().validation.rows.features.copy()
    small_run().report()
    assert np.array_equal(small_run().validation.rows.features, before, equal_nan=True)


def test_example_users_are_of_different_activity(report: Report) -> None:
    users = report.get(examples.SECTION).users
    warm = [user for user in users if user.warm]
    assert [user.events for user in warm] == sorted(user.events for user in warm)
    assert len(warm) == 4
    assert [user.warm for user in users] == [True] * 4 + [False]
    for user in users:
        scores = [item.score for item in user.recommended]
        assert scores == sorted(scores, reverse=True)
        assert user.hits == sum(item.hit for item in user.recommended)
        times = [event.time for event in user.newest]
        assert times == sorted(times, reverse=True)
        assert max(times, default=0) <= END - 14 * DAY


def test_a_report_stays_small(report: Report) -> None:
    text = report.to_json()
    assert len(text) < 500_000
    assert parse(text, "here") == report


def test_little_of_everything_is_a_report_too() -> None:
    report = bare_run().report()
    assert report.get(funnel.SECTION).pairs.steps == ("transaction",)
    assert report.get(items.SECTION).categories == ()
    assert report.get(candidates.SECTION).with_mf == 0
    assert "factorization alone" not in report.get(classifier.SECTION).systems
    assert [(group.low, group.high) for group in report.get(groups.SECTION).activity] == [(0, 0)]
    assert [user.newest for user in report.get(examples.SECTION).users] == [()]
    assert report.get(discovery.SECTION).repeat_fraction == 0


def test_curves_reach_further_than_the_metrics() -> None:
    context = replace(small_run().context, config=small_config("evaluation.ks=[1]", "evaluation.k=5"))
    report = replace(small_run(), context=context).report()
    assert {len(curves.recall) for curves in report.get(lists.SECTION).systems.values()} == {20}
    assert page.chapters(report)


def test_a_sweep_of_many_trials_is_cut_to_the_best() -> None:
    trials = [replace(TRIALS[0], number=number, metric=number / 1000) for number in range(500)]
    numbers = sweep.collect(sweep_of(trials))
    assert (len(numbers.trials), numbers.more, numbers.trials[0].number) == (sweep.MOST_TRIALS, 300, 300)


def test_a_run_without_a_sweep_or_sizes_has_no_such_section() -> None:
    run = replace(small_run(), selected=replace(small_run().selected, sizes=[]))
    names = {spec.name for spec, _ in run.report().sections()}
    assert {"blend", "examples"} <= names
    assert not {"sizes", "sweep"} & names
