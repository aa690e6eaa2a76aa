from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recsys.config import TrainConfig
from recsys.data.partition import count_days
from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.inference.stages import CandidateStage
from recsys.models.tables import Tables
from recsys.retrieval.generator import Candidates
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.schema import DAY, PURCHASE
from recsys.studies.phases import event_rows as module
from recsys.studies.phases.event_rows import EventRows, window_rows
from recsys.timeline import Cut
from recsys.training.windows import Window
from tests.support.features import NAMES, SOURCES
from tests.support.shop_data import END
from tests.support.world import World, small_config, small_world, tables_of

AGE = 14
EVERYBODY = Window(Cut.at(END, AGE), END, quota=1.0)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return tables_of(small_world(), AGE)


def positions(histories: Histories) -> np.ndarray:
    """Positions of the events of the window."""
    return np.flatnonzero(histories.times > EVERYBODY.cut.time)


def rows_of(world: World, tables: Tables, config: TrainConfig | None = None) -> EventRows:
    return window_rows(world.partition, tables, EVERYBODY, 0, config or small_config())


def test_each_event_is_told_as_if_its_user_asked_just_then(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """So all features count from `now`, but for those of group "time": the rows' shifted pasts change nothing."""
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 1000)
    config = small_config("inference.history.max_events=15")
    histories, found = small_world().partition.histories, rows_of(small_world(), tables, config)
    stage, of_events = CandidateStage(tables, NO_PRERANKERS, config.inference), positions(histories)
    assert len(found.labels) == len(of_events)
    for row in np.linspace(0, len(of_events) - 1, 60).astype(int):
        event = of_events[row]
        user, time = histories.rows[event], int(histories.times[event])
        profiles = stage.profile(histories.take(np.array([user])).until(time - 1), time)
        nothing = np.full((1, len(SOURCES)), np.nan, np.float32)
        pair = Candidates.given(1, np.array([0]), histories.items[[event]], nothing)
        expected = stage.features(profiles, pair)[0]
        np.testing.assert_array_equal(found.features[row], expected, err_msg=str(time))
        user_factors, _ = tables.factors.fold_in(profiles.histories)
        mf = tables.factors.score(user_factors, pair.users, pair.items)
        np.testing.assert_array_equal(found.mf[row], mf[0])
        assert found.users[row] == user
        assert found.labels[row] == (histories.events[event] == PURCHASE)


def edited(world: World, time: int) -> World:
    """Everything at or after `time` is another item and another type, but for the items of that very moment."""
    old = world.partition.histories
    late, rng = old.times >= time, np.random.default_rng(0)
    items = np.where(old.times > time, rng.permutation(old.items), old.items)
    events = np.where(late, (old.events + 1) % 3, old.events).astype(np.int8)
    partition = UserPartition(world.partition.users, Histories(old.offsets, items.astype(np.int32), events, old.times))
    return replace(world, partition=partition, daily=count_days(partition, END))


def test_no_future() -> None:
    """Editing all that any user did at or after an event leaves its features, also those from tables."""
    world = small_world()
    histories = world.partition.histories
    of_events = positions(histories)
    before = rows_of(world, tables_of(world, AGE))
    for row in (0, len(of_events) // 2, len(of_events) - 1):
        time = int(histories.times[of_events[row]])
        other = edited(world, time)
        after = rows_of(other, tables_of(other, AGE))
        np.testing.assert_array_equal(after.features[row], before.features[row])
        np.testing.assert_array_equal(after.mf[row], before.mf[row])
        past = histories.times[of_events] <= time
        np.testing.assert_array_equal(after.features[past], before.features[past])
    assert (after.labels != before.labels).any()


def test_events_at_one_time_do_not_know_each_other(tables: Tables) -> None:
    time = END - DAY
    histories = Histories.build(np.zeros(3, int), np.array([1, 1, 2]), np.array([0, 2, 2]), np.full(3, time), 1)
    world = replace(small_world(), partition=UserPartition(pa.array([1]), histories))
    found = rows_of(world, tables)
    assert found.labels.tolist() == [0, 1, 1]
    assert (found.features[:, NAMES.index("user_events")] == 0).all()
    assert np.isnan(found.mf).all()
    assert found.data.groups.tolist() == [3]
