"""The gates on data: each refuses what it is for, names the figure, and lets usual data through."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recsys.cli import retrain
from recsys.data.shop import DailyCounts
from recsys.gates import facts as gate_facts
from recsys.gates.data import GATES, GateInputs, check, newest_weeks
from recsys.gates.drift import stability_index
from recsys.gates.facts import DataFacts, events_by_week, facts_of_version
from recsys.gates.settings import GatesConfig
from recsys.registry.decisions import GateResult
from recsys.schema import EVENT_TYPES
from tests.support.bundles import attributed_bundle, small_bundle

EVENTS = {"view": 9000, "addtocart": 900, "transaction": 450}
WEEKS = np.array([[630, 63, 56]] * 8)
VALUES = np.random.default_rng(0).gamma(2.0, 10.0, 2000)


def facts(**changes: Any) -> DataFacts:
    usual = DataFacts(
        ids={"user": "int64", "item": "int64"},
        events=EVENTS,
        days=100.0,
        links=40,
        with_category=0.9,
        attributes=("price", "colour"),
        features={"item_popularity": VALUES, "event": np.repeat([0.0, 1.0, 2.0], [900, 90, 45])},
    )
    return replace(usual, **changes)


def results(weeks: np.ndarray = WEEKS, gap: float = 14.0, old: DataFacts | None = None, **new: Any) -> dict[str, Any]:
    inputs = GateInputs(old or facts(), facts(**new), weeks, gap, GatesConfig())
    return {result.gate: result for result in check(inputs)}


def closed(found: Mapping[str, GateResult]) -> dict[str, str]:
    return {name: result.figure for name, result in found.items() if not result.passed}


def test_usual_data_pass_every_gate() -> None:
    found = results(events={name: int(1.2 * number) for name, number in EVENTS.items()}, days=114.0)
    assert closed(found) == {}
    assert list(found) == list(GATES)


def test_half_of_the_events_of_a_type_are_missing_in_a_new_week() -> None:
    weeks = WEEKS.copy()
    weeks[1, 2] = 28
    figure = closed(results(weeks))
    assert list(figure) == ["events"]
    assert "28 transaction events in the week 1 before the newest, 50% of the usual 56" in figure["events"]
    assert "expected 60% or more (retrain.gates.min_events_fraction)" in figure["events"]


def test_weeks_that_production_has_seen_are_not_checked() -> None:
    weeks = WEEKS.copy()
    weeks[2, 0] = 10
    assert closed(results(weeks)) == {}


def test_half_of_the_whole_log_is_missing() -> None:
    halved = {name: number // 2 for name, number in EVENTS.items()}
    figure = closed(results(WEEKS // 2, events=halved))
    assert list(figure) == ["events"]
    assert "in the whole log, 50% of production's" in figure["events"]


def test_a_type_that_is_gone() -> None:
    assert "0.0 transaction events a day" in closed(results(events={"view": 9000, "addtocart": 900}))["events"]


def test_rare_events_do_not_close_the_gate() -> None:
    weeks = WEEKS.copy()
    weeks[:, 2], weeks[0, 2] = 4, 1
    few = EVENTS | {"transaction": 40}
    assert closed(results(weeks, old=facts(events=few), events=few | {"transaction": 15})) == {}


def test_a_log_of_a_few_days_has_no_usual_week() -> None:
    assert closed(results(WEEKS[:1])) == {}


@pytest.mark.parametrize(("gap", "weeks"), [(0.0, 1), (6.9, 1), (14.0, 2), (20.0, 2), (365.0, 4)])
def test_the_weeks_since_production_are_checked(gap: float, weeks: int) -> None:
    assert newest_weeks(gap, 52) == weeks


def test_a_short_log_keeps_a_week_to_tell_what_is_usual() -> None:
    weeks = WEEKS[:4].copy()
    weeks[0, 2] = 20
    assert "20 transaction events in the newest week" in closed(results(weeks, gap=28.0))["events"]


@pytest.mark.parametrize(("gap", "end"), [(-12.0, "12.0 days before"), (-0.5, "0.5 days before"), (0.0, "with")])
def test_data_without_newer_events_are_an_old_export(gap: float, end: str) -> None:
    figure = closed(results(gap=gap))
    text = f"the data end {end} production's newest event; expected newer events"
    assert figure == {"events": text}
    lost = closed(results(gap=gap, events={name: number // 2 for name, number in EVENTS.items()}))
    assert lost["events"].startswith(f"{text}; ")
    assert "50% of production's" in lost["events"]


def test_another_type_of_ids() -> None:
    figure = closed(results(ids={"user": "int64", "item": "string"}))
    assert list(figure) == ["ids"]
    assert "the ids of items are string, in the version in production they are int64" in figure["ids"]


def test_a_category_tree_that_is_gone() -> None:
    figure = closed(results(links=0))
    assert list(figure) == ["catalog"]
    assert "0 links of the category tree, in production 40" in figure["catalog"]


def test_items_that_lost_their_categories() -> None:
    assert (
        "40.0% of the items with events have a category, in production 90.0%"
        in (closed(results(with_category=0.4))["catalog"])
    )


def test_a_shop_without_categories_needs_none() -> None:
    assert closed(results(old=facts(links=0, with_category=0.0), links=0, with_category=0.0)) == {}


def test_an_attribute_that_is_gone() -> None:
    figure = closed(results(attributes=("price", "size")))
    assert figure == {"attributes": "1 of production's 2 attributes; missing: colour"}


def test_a_feature_that_drifted() -> None:
    figure = closed(results(features={"item_popularity": 100 * VALUES}))
    assert list(figure) == ["drift"]
    assert figure["drift"].startswith("item_popularity has drifted by ")
    assert "expected at most 0.5 (retrain.gates.max_drift)" in figure["drift"]


def test_the_drift_of_the_same_distribution_is_about_zero() -> None:
    rng = np.random.default_rng(3)
    found = [stability_index(rng.normal(size=300), rng.normal(size=400)) for _ in range(20)]
    assert all(index is not None and index < 0.08 for index in found)


def test_a_shift_by_a_standard_deviation_is_a_large_drift() -> None:
    rng = np.random.default_rng(3)
    index = stability_index(rng.normal(size=5000), rng.normal(1.0, size=5000))
    assert index == pytest.approx(1.0, abs=0.25)  # the index of two such normal distributions is 1


def test_values_that_went_missing_are_a_drift() -> None:
    gone = np.where(np.arange(2000) < 1500, np.nan, VALUES)
    index = stability_index(VALUES, gone)
    assert index is not None
    assert index > 0.5


def test_too_few_values_have_no_drift() -> None:
    assert stability_index(VALUES[:20], 100 * VALUES) is None
    assert closed(results(features={"item_popularity": 100 * VALUES[:20]})) == {}


def test_a_shop_that_begins_to_log_carts_has_not_drifted() -> None:
    none, some = np.zeros(2000), np.where(np.arange(2000) < 600, 0.1, 0.0)
    old, new = ({"item_carts_per_view": carts, "event": np.ceil(carts)} for carts in (none, some))
    assert closed(results(old=facts(features=old), features=new)) == {}
    assert stability_index(np.full(2000, np.nan), some) is None
    assert stability_index(np.where(np.arange(2000) < 100, np.nan, 0.0), some) is None  # items that were never viewed


def test_a_young_shop_has_not_drifted_because_its_log_grew() -> None:
    """Over recent days that the older log does not have."""
    counts = {"item_recent_views": VALUES, "user_days_idle": VALUES}
    grown = {name: 5 * values for name, values in counts.items()}
    young = facts(days=20.0, features=counts)
    assert closed(results(old=young, features=grown, events={name: 5 * n for name, n in EVENTS.items()})) == {}
    assert list(closed(results(old=facts(features=counts), features=grown))) == ["drift"]


def test_of_many_users_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_facts, "MOST_USERS", 30)
    histories = small_bundle().snapshot.histories
    n_users = len(histories)
    parts = [histories.take(np.arange(start, n_users, 3)) for start in range(3)]
    assert 0 < len(gate_facts.sample(histories, n_users)) <= 30
    assert sum(len(gate_facts.sample(part, n_users)) for part in parts) <= 30 + len(parts)
    monkeypatch.setattr(gate_facts, "MOST_USERS", n_users)
    assert gate_facts.sample(histories, n_users) is histories


def test_facts_of_a_version() -> None:
    bundle = small_bundle()
    found = facts_of_version(bundle)
    assert (found.ids, found.links, found.attributes) == ({"user": "int64", "item": "int64"}, 6, ())
    assert found.with_category == pytest.approx(56 / 60, abs=0.02)
    assert set(found.features) >= {"item_popularity", "item_recent_purchases", "user_recent_events", "event", "hour"}
    assert set(found.features["event"].tolist()) == {0.0, 1.0, 2.0}
    assert found.features["user_days_idle"].max() <= 30
    assert found.features["hour"].max() < 24
    numbers = [spec.name for spec in attributed_bundle().manifest.attributes or () if spec.kind == "number"]
    assert {f"attr_{name}" for name in numbers} <= set(facts_of_version(attributed_bundle()).features)


def test_events_by_week() -> None:
    age, event, count = np.array([0, 6, 7, 13, 14]), np.array([0, 0, 2, 0, 1]), np.array([3, 4, 5, 6, 7])
    daily = DailyCounts(np.zeros(5, np.int32), age, event, count)
    assert events_by_week(daily, 20.9).tolist() == [[7, 0, 0], [6, 0, 5]]
    assert events_by_week(daily, 3.0).shape == (0, len(EVENT_TYPES))


def test_every_gate_may_be_allowed_by_its_name() -> None:
    [option] = [option for option in retrain.params if option.name == "allowed"]
    assert list(option.type.choices) == list(GATES)
