from dataclasses import replace

import numpy as np
import pytest

from recsys.features.profiles import build_profiles
from recsys.histories import Histories
from recsys.inference.stages import objectives
from recsys.models.tables import Tables
from recsys.retrieval.generator import propose
from recsys.retrieval.preranker import (
    HISTORY_COLUMNS,
    ITEM_COLUMNS,
    PreRanker,
    PreRankerModel,
    PreRankerModels,
    by_source_weights,
    fit_preranker,
    preranker_columns,
)
from recsys.schema import OBJECTIVES, PURCHASE
from recsys.timeline import Cut
from recsys.training.preranker import fit_rows, proposal_rows
from recsys.training.windows import Window
from tests.support.features import SOURCES
from tests.support.shop_data import END
from tests.support.world import small_config, small_world, tables_of

AGE = 42
WINDOW = Window(Cut.at(END, AGE), Cut.at(END, AGE - 14).time, quota=1.0)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return tables_of(small_world(), AGE)


def learned(tables: Tables, histories: Histories | None = None) -> PreRankerModels:
    partition = small_world().partition
    if histories is not None:
        partition = replace(partition, histories=histories)
    every, discovery = (
        fit_rows(SOURCES, proposal_rows(partition, WINDOW, tables, name, small_config())) for name in OBJECTIVES[:2]
    )
    assert every is not None
    assert discovery is not None
    return PreRankerModels(all=every, discovery=discovery)


def flat(model: PreRankerModel) -> np.ndarray:
    """The weights in the order of the columns."""
    history, items = [model.history[name] for name in HISTORY_COLUMNS], [model.items[name] for name in ITEM_COLUMNS]
    return np.concatenate([[model.source_value], *(model.ranks[name] for name in SOURCES), history, items])


def test_what_is_selected_is_what_was_learned(tables: Tables) -> None:
    """The service looks weights up by place; training multiplies a matrix: both come to the same log-odds."""
    prerankers, config = learned(tables), small_config().inference
    past = small_world().partition.histories.until(WINDOW.cut.time)
    profiles = build_profiles(past, tables.statistics, WINDOW.cut.time, config.interactions)
    for name in OBJECTIVES:
        wanted = objectives(name, len(profiles))
        proposals = propose(profiles, tables.retrieval, tables.statistics, config.candidates, wanted)
        weights = config.candidates.source_weights
        by_name = dict(zip(SOURCES, weights, strict=True))
        preranker = PreRanker.for_tables(prerankers, by_name, tables.statistics)
        scores = preranker(profiles, tables.statistics, proposals, wanted)
        model = prerankers.by_objective[OBJECTIVES.index(name)]
        assert model is not None
        columns = preranker_columns(profiles, tables.statistics, proposals, np.arange(len(proposals.users)), weights)
        assert len(scores)
        np.testing.assert_allclose(scores, columns @ flat(model), rtol=1e-4, atol=1e-4)


def test_hits_come_first_more_often_than_by_turns(tables: Tables) -> None:
    rows = proposal_rows(small_world().partition, WINDOW, tables, "all", small_config())
    columns, labels = rows.columns, rows.labels
    assert len(rows.keys) == len(columns) == len(labels)
    model = fit_preranker(columns, labels > 0, SOURCES)
    assert model is not None

    def lead(one: PreRankerModel) -> float:
        scores = columns @ flat(one)
        return float(np.mean(scores[labels > 0][:, None] > scores[labels == 0]))

    assert lead(model) > lead(by_source_weights(SOURCES))


def test_later_events_change_nothing(tables: Tables) -> None:
    histories = small_world().partition.histories
    assert (histories.times > WINDOW.end).any()
    assert learned(tables, histories.until(WINDOW.end)) == learned(tables)


def test_nothing_is_learned_where_nothing_differs() -> None:
    columns = np.ones((4, 3), np.float32)
    assert fit_preranker(columns, np.zeros(4, bool), SOURCES) is None
    assert fit_preranker(columns, np.ones(4, bool), SOURCES) is None
    assert fit_rows(SOURCES) is None


def test_users_without_a_hit_give_no_rows_and_change_nothing(tables: Tables) -> None:
    """A chunk of such users is an empty batch of the regression."""
    everyone, config = small_world().partition, small_config()
    whole = proposal_rows(everyone, WINDOW, tables, "all", config)
    events = everyone.histories
    quiet = replace(everyone, histories=events.where((events.times <= WINDOW.cut.time) | (events.events != PURCHASE)))
    nothing = proposal_rows(replace(quiet, histories=quiet.histories), WINDOW, tables, "all", config)
    assert len(nothing.keys) == 0
    assert fit_rows(SOURCES, nothing, whole, nothing) == fit_rows(SOURCES, whole)
    assert fit_rows(SOURCES, nothing) is None


def test_no_rows_have_the_width_of_all_columns(tables: Tables) -> None:
    config = small_config().inference
    past = small_world().partition.histories.until(WINDOW.cut.time)
    profiles = build_profiles(past, tables.statistics, WINDOW.cut.time, config.interactions)
    proposals = propose(
        profiles, tables.retrieval, tables.statistics, config.candidates, objectives("all", len(profiles))
    )
    weights = config.candidates.source_weights
    one, none = (preranker_columns(profiles, tables.statistics, proposals, np.arange(n), weights) for n in (1, 0))
    assert none.shape == (0, one.shape[1])
