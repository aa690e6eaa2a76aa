"""Windows and targets chosen from the log."""

import numpy as np
import pyarrow as pa
import pytest

from recsys.config import TrainConfig, load_config
from recsys.data.shop import UserPartition
from recsys.errors import TooLittleData
from recsys.histories import Histories
from recsys.schema import CART, DAY, PURCHASE, VIEW, EventType
from recsys.training.from_log import TARGETS, WINDOWS, FromLog, Options, choose, count_users, window_lengths
from recsys.training.plan import make_plan, plan_without_training

START = 1_430_438_400_000
PLENTY = 5000
ALL: dict[str, int] = {"view": 10, "addtocart": 10, "transaction": 10}


def chosen(
    span: float,
    *settings: str,
    events: dict[str, int] | None = None,
    users: dict[tuple[int, EventType], int] | None = None,
) -> FromLog:
    """users: in each window, by the days of the window and the target; PLENTY without an entry"""
    config = load_config(None, settings)
    options = Options.create(span, ALL if events is None else events, config)
    counts = np.full((len(options.lengths), len(options.targets), 3), PLENTY)
    for row, days in enumerate(options.lengths):
        for column, names in enumerate(options.targets):
            counts[row, column] = (users or {}).get((days, names[0]), PLENTY)
    return choose(span, options, counts, config)


def windows(config: TrainConfig) -> tuple[int | None, ...]:
    examples = config.examples
    return config.evaluation.test_days, examples.horizon_days, examples.step_days, examples.min_history_days


@pytest.mark.parametrize("span", [49, 138, 364, 729.9])
def test_a_log_of_49_days_to_two_years_has_windows_of_two_weeks(span: float) -> None:
    found = chosen(span)
    assert windows(found.config) == (14, 14, 14, 7)
    assert found.config.targets == ("transaction",)
    assert "usual length" in found.why[WINDOWS]
    assert found.why[TARGETS] == "the strongest event type"


@pytest.mark.parametrize(
    ("span", "days", "history"),
    [(48.9, 7, 4), (30, 7, 4), (25, 7, 4), (24.9, 6, 3), (14, 4, 2), (9, 2, 1), (7, 2, 1), (6.9, 1, 1), (4, 1, 1)],
)
def test_a_short_log_has_the_longest_windows_that_fit(span: float, days: int, history: int) -> None:
    found = chosen(span)
    assert windows(found.config) == (days, days, days, history)
    assert make_plan(START, START + int(span * DAY), found.config).train
    assert "the longest that fits" in found.why[WINDOWS]


@pytest.mark.parametrize("span", [0, 1, 3.9])
def test_a_few_days_are_too_short_for_any_window(span: float) -> None:
    found = chosen(span)
    assert "too few for any window" in found.why[WINDOWS]
    with pytest.raises(
        TooLittleData, match=r"spans \d\.\d days, expected 4 or more: 1 test, 1 validation and 1 training"
    ):
        make_plan(START, START + int(span * DAY), found.config)
    plan = plan_without_training(START + int(span * DAY), found.config)
    assert (plan.trains, plan.test.age, plan.tables) == (False, 1, (plan.newest, plan.test, plan.validation))


@pytest.mark.parametrize("span", [730, 1096])
def test_a_log_of_two_years_has_longer_windows(span: float) -> None:
    found = chosen(span)
    assert windows(found.config) == (28, 28, 28, 7)
    assert "two years or more" in found.why[WINDOWS]


def test_rare_purchases_make_longer_windows_first() -> None:
    rare: dict[tuple[int, EventType], int] = {(14, "transaction"): 6}
    found = chosen(138, users=rare)
    assert (found.config.test_days, found.config.targets) == (28, ("transaction",))
    assert found.why[WINDOWS] == "fewer than 20 users have a label in a window of 14 days"
    assert window_lengths(138, TrainConfig()) == (14, 28)
    assert window_lengths(400, TrainConfig()) == (14, 28, 56)


def test_then_a_weaker_event_type_is_the_target() -> None:
    rare: dict[tuple[int, EventType], int] = {(days, "transaction"): 6 for days in (14, 28)}
    found = chosen(138, users=rare)
    assert (found.config.test_days, found.config.targets) == (14, ("addtocart",))
    assert found.why[TARGETS] == "too few users with a history have a transaction in each window"


def test_where_all_are_rare_the_strongest_with_a_user_in_each_window_is_taken() -> None:
    rare: dict[tuple[int, EventType], int] = {
        (days, name): 0 for days in (14, 28) for name in ("transaction", "addtocart")
    }
    rare |= {(14, "view"): 2, (28, "view"): 3}
    found = chosen(138, users=rare)
    assert (found.config.test_days, found.config.targets) == (28, ("view",))
    nobody: dict[tuple[int, EventType], int] = {**rare, (14, "view"): 0, (28, "view"): 0}
    found = chosen(138, users=nobody)
    assert (found.config.test_days, found.config.targets) == (14, ("transaction",))
    assert "no user" in found.why[TARGETS]


def test_a_log_of_one_type_has_it_as_the_target() -> None:
    found = chosen(138, events={"view": 5, "addtocart": 0, "transaction": 0})
    assert found.config.targets == ("view",)
    assert found.why[TARGETS] == "the only event type of the log"


def test_what_the_settings_give_is_kept() -> None:
    found = chosen(1000, "targets=[view]", "evaluation.test_days=5", "examples.step_days=2")
    assert windows(found.config) == (5, 5, 2, 3)
    assert found.config.targets == ("view",)
    assert found.why == {}
    longer = chosen(138, "examples.horizon_days=28")
    assert windows(longer.config) == (14, 28, 28, 7)
    weeks = chosen(40, "examples.min_history_days=20")
    assert windows(weeks.config) == (6, 6, 6, 20)


def test_a_complete_config_stays_as_it_is() -> None:
    complete = chosen(138).config
    options = Options.create(10, ALL, complete)
    assert (options.lengths, options.targets) == ((14,), (("transaction",),))
    assert choose(10, options, np.zeros((1, 1, 3), np.int64), complete) == FromLog(complete, {})


def test_users_with_a_label_are_counted_by_window() -> None:
    """User 0 is in every window, user 1 has no event before the test window, user 2 views only."""
    end = START + 40 * DAY
    events = [
        *((0, PURCHASE, age) for age in (40, 27, 14, 13, 0)),
        *((1, PURCHASE, age) for age in (5, 4)),
        *((2, VIEW, age) for age in (35, 20, 1)),
        (2, CART, 30),
    ]
    users, kinds, ages = (np.array(column) for column in zip(*events, strict=True))
    histories = Histories.build(users, np.zeros(len(users), np.int32), kinds, end - ages * DAY, 3)
    partition = UserPartition(pa.array([0, 1, 2]), histories)
    counts = count_users(
        partition, end, [((14, 0), (28, 14), (42, 28))], [("transaction",), ("view",), ("view", "transaction")]
    )
    assert counts.tolist() == [[[1, 1, 0], [1, 1, 0], [2, 2, 0]]]
    empty = UserPartition(pa.array([], pa.int64()), histories.take(np.zeros(0, np.int64)))
    assert count_users(empty, end, [((14, 0), (28, 14), (42, 28))], [("view",)]).tolist() == [[[0, 0, 0]]]
