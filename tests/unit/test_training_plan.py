import pytest

from recsys.config import TrainConfig, load_config
from recsys.errors import ModelError
from recsys.schema import DAY
from recsys.training.plan import Plan, make_plan

START = 1_430_438_400_000


def plan(days: float, *settings: str) -> Plan:
    return make_plan(START, START + int(days * DAY), load_config(None, settings))


def test_a_season() -> None:
    found = plan(138)
    assert found == Plan(horizon=14, train=(42, 56, 70, 84), select=98, valid=28, test=14, refit=(14,))
    assert found.tables == (0, 14, 28, 42, 56, 70, 84, 98)


def test_a_year_of_four_week_windows() -> None:
    found = plan(364, "evaluation.test_days=28", "examples.cuts=2")
    assert found == Plan(horizon=28, train=(84, 112), select=140, valid=56, test=28, refit=(28,))


def test_a_short_log_has_fewer_cuts() -> None:
    assert (plan(49).train, plan(49).select) == ((42,), None)
    assert (plan(62.9).train, plan(62.9).select) == ((42,), None)
    assert (plan(63).train, plan(63).select) == ((42,), 56)
    assert (plan(77).train, plan(77).select) == ((42, 56), 70)


def test_steps_shorter_than_the_horizon_overlap() -> None:
    found = plan(138, "examples.step_days=7")
    assert (found.train, found.select) == ((42, 49, 56, 63), 77)
    short = plan(65, "examples.step_days=7")
    assert (short.train, short.select) == ((42,), 56)


def test_a_horizon_of_its_own() -> None:
    found = plan(138, "examples.horizon_days=7", "examples.cuts=1")
    assert found == Plan(horizon=7, train=(28,), select=35, valid=21, test=14, refit=(7, 14))
    longer = plan(138, "examples.horizon_days=28", "examples.cuts=1")
    assert longer == Plan(horizon=28, train=(70,), select=98, valid=42, test=14, refit=(28,))


@pytest.mark.parametrize("horizon", [None, 3, 7, 14, 20, 30])
@pytest.mark.parametrize("test_days", [5, 14, 21])
def test_no_label_window_reaches_into_what_it_must_not_see(horizon: int | None, test_days: int) -> None:
    config = TrainConfig.model_validate({"examples": {"horizon_days": horizon}, "evaluation": {"test_days": test_days}})
    found = make_plan(START, START + 300 * DAY, config)
    assert found.valid - found.horizon >= found.test
    assert all(age - found.horizon >= found.valid for age in found.train)
    assert all(age - found.horizon >= 0 for age in found.refit)
    assert found.select is not None
    assert all(age <= found.select - found.horizon for age in found.train)
    ages = (*found.refit, found.valid, *found.train, found.select)
    assert len(set(ages)) == len(ages)
    assert {0, found.test, *ages} == set(found.tables)


def test_too_short() -> None:
    with pytest.raises(ModelError) as caught:
        plan(48.5)
    message = str(caught.value)
    assert "spans 48.5 days" in message
    assert "need 49" in message
    assert "examples.horizon_days" in message
    assert "seconds" not in message


def test_seconds_are_suspected_near_1970() -> None:
    with pytest.raises(ModelError, match=r"0\.1 days.*between 1970-01-17 and 1970-01-17: are the timestamps seconds"):
        make_plan(START // 1000, (START + 138 * DAY) // 1000, load_config(None))
