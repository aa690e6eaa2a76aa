"""What a report finds out, on the small shop."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.report import page
from recsys.report.collect.data import count_traits, daily_events, funnel
from recsys.report.collect.quality import activity_groups
from recsys.report.content import Report
from recsys.report.sweep import MOST_TRIALS, sweep_of
from recsys.schema import CART, DAY, EVENT_TYPES, PURCHASE, VIEW
from tests.support.features import FEATURES, SOURCES
from tests.support.reports import SWEEP, bare_run, small_run
from tests.support.shop_data import DAYS, END, START, USERS, events
from tests.support.world import small_config

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def report(ray_session: None) -> Report:
    return small_run().report(SWEEP)


def test_traits_of_two_users() -> None:
    """One looks at two items, puts one of them into the cart and buys it; the other buys without a look."""
    histories = Histories.build(
        np.array([0, 0, 0, 0, 1]), np.array([5, 7, 7, 7, 5]), np.array([VIEW, VIEW, CART, PURCHASE, PURCHASE]),
        np.arange(5), 2,
    )  # fmt: skip
    found = count_traits(UserPartition(pa.array([10, 20]), histories))
    assert (found.sizes.tolist(), found.counts.tolist()) == ([1, 4], [1, 1])
    users, pairs = funnel(found.users), funnel(found.pairs)
    assert users.steps == EVENT_TYPES
    assert (users.have, users.through) == ((1, 1, 2), (1, 1, 1))
    assert (pairs.have, pairs.through) == ((2, 1, 2), (2, 1, 1))
    empty = count_traits(UserPartition(pa.array([], pa.int64()), histories.take(np.zeros(0, np.int64))))
    assert (empty.users.sum(), empty.pairs.sum()) == (0, 0)


def test_the_data_are_described(report: Report) -> None:
    data, rows = report.data, set(events())
    assert data.events == {kind: sum(row.event == kind for row in rows) for kind in EVENT_TYPES}
    assert (data.start, data.end, data.users) == (START, END, USERS)
    assert data.daily.step == 1
    for kind in EVENT_TYPES:
        assert sum(data.daily.events[kind]) == pytest.approx(data.events[kind], abs=2)  # but for the first moment
        assert len(data.daily.events[kind]) == len(data.daily.starts) == DAYS
    assert data.funnel_users.have[0] == USERS
    assert data.funnel_pairs.through[-1] <= data.funnel_pairs.have[-1]
    assert sum(row.shares["view"] for row in data.categories) == pytest.approx(1, abs=0.1)
    assert {row.name: row.items for row in data.coverage}["available at the end"] == 58
    assert [(window.name, window.end) for window in data.windows] == [("validation", END - 14 * DAY), ("test", END)]


def test_a_long_log_is_summed_over_weeks() -> None:
    shop = small_run().shop
    rare = replace(shop.daily, age=shop.daily.age * 9)
    longer = replace(shop, start=shop.end - 9 * DAYS * DAY, daily=rare)
    found = daily_events(longer, ["view"])
    assert found.step == 7
    assert len(found.starts) <= 9 * DAYS / 7 + 1
    assert sum(found.events["view"]) * 7 == pytest.approx(shop.event_counts["view"], rel=0.01)


def test_groups_of_activity() -> None:
    assert activity_groups(np.array([0, 1, 1, 2, 3, 4, 5, 6, 90])).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert activity_groups(np.array([0, 0])).tolist() == [0, 0]
    assert activity_groups(np.array([7, 7, 7])).tolist() == [1, 1, 1]


def test_quality_agrees_with_the_metrics(report: Report) -> None:
    quality, metrics = report.quality, small_run().metrics()
    ours = next(row for row in metrics["table"] if (row["system"], row["group"]) == ("hybrid", "all"))
    assert quality.at_k["hybrid"].precision[9] == pytest.approx(ours["precision@10"], rel=1e-3)
    assert quality.at_k["hybrid"].recall[19] == pytest.approx(ours["recall@20"], rel=1e-3)
    assert quality.classified["hybrid"].roc_auc == pytest.approx(ours["roc_auc"])
    assert sum(group.users for group in quality.activity) == quality.users == ours["users"]
    mean = sum(group.users * group.systems["hybrid"].mean for group in quality.activity) / quality.users
    assert mean == pytest.approx(ours["ndcg@10"])
    matrix = quality.confusion
    assert matrix is not None
    assert matrix.true_positives + matrix.false_negatives + matrix.missed == small_run().cases.truth.sizes.sum()
    candidates, hybrid = (
        next(row for row in quality.found if row.system == name) for name in ("all candidates", "hybrid")
    )
    assert candidates.new is not None
    assert hybrid.new is not None
    assert hybrid.new <= candidates.new
    assert set(quality.calibration) == {"score", "lgb_score", "mf_score"}


def test_shuffling_costs_what_the_ranker_goes_by(report: Report) -> None:
    """It learned which items are the user's own."""
    losses = {row.name: row for row in report.reasons.groups}
    assert set(losses) == {feature.group for feature in FEATURES}
    assert sum(row.features for row in losses.values()) == len(FEATURES)
    assert sum(row.gain or 0 for row in losses.values()) == pytest.approx(1)
    assert losses["time"].loss.mean == pytest.approx(0, abs=0.05)
    assert [row.name for row in report.reasons.without] == list(SOURCES)
    assert report.reasons.contributions[0].mean >= report.reasons.contributions[-1].mean > 0
    assert all(0 <= at <= 100 for row in report.reasons.contributions for at in row.places if at is not None)


def test_finding_out_changes_nothing() -> None:
    before = small_run().validation.rows.features.copy()
    small_run().report()
    assert np.array_equal(small_run().validation.rows.features, before, equal_nan=True)


def test_people_are_of_different_activity(report: Report) -> None:
    warm = [person for person in report.people if person.warm]
    assert [person.events for person in warm] == sorted(person.events for person in warm)
    assert len(warm) == 4
    assert [person.warm for person in report.people] == [True] * 4 + [False]
    for person in report.people:
        scores = [item.score for item in person.recommended]
        assert scores == sorted(scores, reverse=True)
        assert person.found == sum(item.hit for item in person.recommended)
        times = [event.time for event in person.newest]
        assert times == sorted(times, reverse=True)
        assert max(times, default=0) <= END - 14 * DAY


def test_a_report_stays_small(report: Report) -> None:
    text = report.model_dump_json()
    assert len(text) < 500_000
    assert Report.model_validate_json(text) == report


def test_little_of_everything_is_a_report_too() -> None:
    report = bare_run().report()
    assert report.data.funnel_pairs.steps == ("transaction",)
    assert report.data.categories == ()
    assert report.quality.scored == 0
    assert "factorization alone" not in report.quality.classified
    assert [(group.low, group.high) for group in report.quality.activity] == [(0, 0)]
    assert [person.newest for person in report.people] == [()]
    assert report.quality.repeat_share == 0


def test_curves_reach_further_than_the_metrics() -> None:
    run = replace(small_run(), config=small_config("evaluation.ks=[1]", "evaluation.k=5"))
    quality = run.report().quality
    assert {len(found.recall) for found in quality.at_k.values()} == {20}
    assert page.parts(run.report())


def test_a_sweep_of_many_trials_is_cut_to_the_best() -> None:
    trials = [SWEEP["trials"][0] | {"number": number, "metric": number / 1000} for number in range(500)]
    found = sweep_of(SWEEP | {"trials": trials, "best": {"number": 499, "curve": None}})
    assert (len(found.trials), found.more, found.trials[0].number) == (MOST_TRIALS, 300, 300)
