import pytest

from recsys.config import TrainConfig, load_config
from recsys.errors import ModelError
from recsys.schema import DAY
from recsys.training.plan import Plan, make_plan

START = 1_430_438_400_000


def plan(days: float, *settings: str) -> Plan:
    return make_plan(START, START + int(days * DAY), load_config(None, settings))


def trained(found: Plan) -> tuple[list[int], int | None]:
    """Ages of the rankers' and of the pre-rankers' cuts."""
    cuts = found.to_json()
    return cuts["train"], cuts["preranker"]


def test_a_season() -> None:
    found = plan(138)
    assert found.to_json() == {
        "horizon": 14,
        "train": [42, 56, 70, 84],
        "preranker": 98,
        "validation": 28,
        "test": 14,
        "refit": [14],
    }
    assert [cut.age for cut in found.tables] == [0, 14, 28, 42, 56, 70, 84, 98]
    assert {cut.time + cut.age * DAY for cut in found.tables} == {START + 138 * DAY}


def test_a_year_of_four_week_windows() -> None:
    found = plan(364, "evaluation.test_days=28", "examples.cuts=2")
    assert found.to_json() == {
        "horizon": 28,
        "train": [84, 112],
        "preranker": 140,
        "validation": 56,
        "test": 28,
        "refit": [28],
    }


def test_a_short_log_has_fewer_cuts() -> None:
    assert trained(plan(49)) == ([42], None)
    assert trained(plan(62.9)) == ([42], None)
    assert trained(plan(63)) == ([42], 56)
    assert trained(plan(77)) == ([42, 56], 70)


def test_steps_shorter_than_the_horizon_overlap() -> None:
    found = plan(138, "examples.step_days=7")
    assert trained(found) == ([42, 49, 56, 63], 77)
    short = plan(65, "examples.step_days=7")
    assert trained(short) == ([42], 56)


def test_a_horizon_of_its_own() -> None:
    found = plan(138, "examples.horizon_days=7", "examples.cuts=1")
    assert found.to_json() == {
        "horizon": 7,
        "train": [28],
        "preranker": 35,
        "validation": 21,
        "test": 14,
        "refit": [7, 14],
    }
    longer = plan(138, "examples.horizon_days=28", "examples.cuts=1")
    assert longer.to_json() == {
        "horizon": 28,
        "train": [70],
        "preranker": 98,
        "validation": 42,
        "test": 14,
        "refit": [28],
    }


@pytest.mark.parametrize("horizon", [None, 3, 7, 14, 20, 30])
@pytest.mark.parametrize("test_days", [5, 14, 21])
def test_no_label_window_reaches_into_what_it_must_not_see(horizon: int | None, test_days: int) -> None:
    config = TrainConfig.model_validate({"examples": {"horizon_days": horizon}, "evaluation": {"test_days": test_days}})
    found = make_plan(START, START + 300 * DAY, config)
    assert found.preranker is not None
    assert found.validation.plus(found.horizon) <= found.test.time
    assert all(cut.plus(found.horizon) <= found.validation.time for cut in found.train)
    assert all(cut.plus(found.horizon) <= found.newest.time for cut in found.refit)
    assert all(found.preranker.plus(found.horizon) <= cut.time for cut in found.train)
    cuts = (*found.refit, found.validation, *found.train, found.preranker)
    assert len(set(cuts)) == len(cuts)
    assert {found.newest, found.test, *cuts} == set(found.tables)


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
