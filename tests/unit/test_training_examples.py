import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.histories import Histories
from recsys.inference.stages import CandidateStage
from recsys.models.tables import Tables
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.schema import CART, PURCHASE, VIEW
from recsys.timeline import Cut
from recsys.training.examples import (
    GROUP,
    LABEL,
    OBJECTIVE,
    Survey,
    explain,
    hits,
    make_examples,
    survey,
)
from recsys.training.windows import NOBODY, Window, chosen_users
from tests.support.features import NAMES
from tests.support.shop_data import END
from tests.support.world import small_config, small_world, tables_of

AGE = 42
EVERYONE = Window(Cut.at(END, AGE), Cut.at(END, AGE - 14).time, quota=1.0)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return tables_of(small_world(), AGE)


def examples_of(tables: Tables, window: Window = EVERYONE, **examples: Any) -> pa.Table:
    config = small_config(*(f"examples.{name}={value}" for name, value in examples.items()))
    return make_examples(small_world().partition, window, tables, NO_PRERANKERS, ["all"], config)


def matrix_of(table: pa.Table) -> np.ndarray:
    return np.stack([table[name].to_numpy() for name in NAMES], axis=1)


def test_hits_known_answer() -> None:
    """User 0 viewed and bought 1 and put 2 into the cart; user 1 viewed 3."""
    rows = np.array([(0, 1, VIEW), (0, 1, PURCHASE), (0, 2, CART), (1, 3, VIEW)]).T
    after = Histories.build(*rows, np.full(4, 5), 2)
    users, items = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 2, 3, 1, 3, 0])
    assert hits(after, users, items, small_config()).tolist() == [1, 0, 0, 0, 0, 0]
    both = small_config("targets=[addtocart, transaction]")
    assert hits(after, users, items, both).tolist() == [1, 1, 0, 0, 0, 0]


def test_hits_without_events() -> None:
    none = np.zeros(0, np.int64)
    after = Histories.build(none, none, none, none, 2)
    assert hits(after, np.array([0, 1]), np.array([4, 0]), small_config()).tolist() == [0, 0]
    assert hits(after, none, none, small_config()).tolist() == []


def test_every_group_has_its_hits_and_the_negatives_asked_for(tables: Tables) -> None:
    table = examples_of(tables, negatives=4)
    groups, labels = table[GROUP].to_numpy(), table[LABEL].to_numpy()
    assert set(labels.tolist()) == {0, 1}
    for group in np.unique(groups):
        mine = labels[groups == group]
        assert (mine > 0).any()
        assert (mine == 0).sum() == 4


def test_negatives_end_with_the_candidates(tables: Tables) -> None:
    table = examples_of(tables, negatives=1000)
    assert (np.bincount(table[GROUP].to_numpy())[np.unique(table[GROUP].to_numpy())] == 20).all()


def test_a_hit_is_an_event_of_the_window_and_nothing_else(tables: Tables) -> None:
    """Labels say what happened in (cut, cut + 14 days]; the rows are candidates as of the cut."""
    world, config = small_world(), small_config("examples.negatives=1000")
    table = examples_of(tables, negatives=1000)
    stage = CandidateStage(tables, NO_PRERANKERS, config.inference)
    profiles = stage.profile(world.partition.histories.until(EVERYONE.cut.time), EVERYONE.cut.time)
    candidates = stage(profiles)
    chosen = np.isin(candidates.users, table[GROUP].to_numpy())
    kept = candidates.take(np.flatnonzero(chosen))
    np.testing.assert_array_equal(kept.users, table[GROUP].to_numpy())
    np.testing.assert_array_equal(stage.features(profiles, kept), matrix_of(table))
    window = world.partition.histories.between(EVERYONE.cut.time, EVERYONE.end)
    bought = {
        (int(user), int(item))
        for user, item, event in zip(window.rows, window.items, window.events, strict=True)
        if event == PURCHASE
    }
    pairs = zip(kept.users.tolist(), kept.items.tolist(), strict=True)
    assert [pair in bought for pair in pairs] == table[LABEL].to_numpy().tolist()


def test_what_comes_after_the_window_is_not_seen(tables: Tables) -> None:
    world = small_world()
    past = replace(world.partition, histories=world.partition.histories.until(EVERYONE.end))
    one, other = (
        make_examples(part, EVERYONE, tables, NO_PRERANKERS, ["all"], small_config())
        for part in (past, world.partition)
    )
    assert one[GROUP].equals(other[GROUP])
    assert one[LABEL].equals(other[LABEL])
    np.testing.assert_array_equal(matrix_of(one), matrix_of(other))


def test_without_chosen_users_there_are_no_rows(tables: Tables) -> None:
    table = examples_of(tables, replace(EVERYONE, quota=NOBODY))
    assert len(table) == 0
    assert table.column_names == [OBJECTIVE, GROUP, LABEL, *NAMES]


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (Survey(0, 0, 0, 0), r"0 events, .*a single event dated long after the others moves its end, 2015-07-30"),
        (Survey(1200, 0, 0, 0), r"1,200 events, of which 0 are targets \(transaction\).*look at targets"),
        (Survey(9, 2, 0, 0), "look at examples.min_history_days"),
        (Survey(9, 2, 1, 0), "available and inference.candidates.sources"),
        (Survey(9, 2, 1, 20), "20 candidates for them, 0 labels; what is proposed is never chosen"),
    ],
)
def test_a_window_without_a_hit_is_explained(found: Survey, cause: str) -> None:
    message = explain(EVERYONE, found, END, small_config())
    assert message.startswith("the label window after 2015-06-18 up to 2015-07-02 (UTC) has no hit")
    assert re.search(cause, message)


def test_a_survey_counts_the_window(tables: Tables) -> None:
    partition, config = small_world().partition, small_config()
    found = Survey(*survey(partition, EVERYONE, tables, NO_PRERANKERS, config).tolist())
    after = partition.histories.between(EVERYONE.cut.time, EVERYONE.end)
    assert (found.events, found.targets) == (len(after.events), int((after.events == PURCHASE).sum()))
    chosen = chosen_users(partition, EVERYONE, config)
    assert (found.users, found.candidates) == (len(chosen), 20 * len(chosen))
