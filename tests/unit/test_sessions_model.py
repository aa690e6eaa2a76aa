"""The session model: what it proposes, how it ranks, and that a request does not depend on its batch."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.errors import ModelError
from recsys.histories import Histories
from recsys.registry.shapes import check_finite, check_shapes, check_values
from recsys.schema import CART, DAY, VIEW
from recsys.sessions.features import FEATURES
from recsys.sessions.learning import labelled_rows, neighbour_ranks, tuned
from recsys.sessions.model import AT_ONCE, SessionCandidates, SessionModel, SessionProposer
from recsys.sessions.prefixes import labelled, mrr
from recsys.sessions.settings import SOURCES
from recsys.sessions.tables import ItemFacts, SessionTables, fit_session_tables, session_arrays
from tests.support.sessions import CUT, N_ITEMS, circle_model, circle_proposer, circle_sessions, small_session_config


def one_session(*items: int, event: int = VIEW) -> Histories:
    n = len(items)
    times = CUT + np.arange(n) * 1000
    return Histories(np.array([0, n]), np.array(items, np.int32), np.full(n, event, np.int8), times)


def column(candidates: SessionCandidates, name: str) -> np.ndarray:
    return candidates.features[:, circle_proposer().feature_names.index(name)]


def listed(model: SessionModel, session: Histories, known: Histories | None = None) -> list[int]:
    """The items, best first."""
    candidates = model.propose(session, known)
    order = np.argsort(-model.rank(candidates.features), kind="stable")
    return candidates.items[order].tolist()


def test_the_next_items_of_the_circle_come_first() -> None:
    model = circle_model()
    for item in range(0, N_ITEMS, 7):
        circle = item // 10 * 10
        expected = {circle + (item + 1) % 10, circle + (item + 2) % 10}
        assert expected <= set(listed(model, one_session(item))[:4])


def test_the_ranker_beats_the_neighbours_alone() -> None:
    model, prefixes = circle_model(), labelled(circle_sessions(2, 200, CUT, CUT + 10 * DAY))
    rows = labelled_rows(model, prefixes)
    ranks = rows.ranks(model.rank(rows.candidates.features))
    alone = neighbour_ranks(model.tables, prefixes, model.config.neighbours, model.config)
    assert mrr(ranks, 20) > mrr(alone, 20)


def test_what_the_session_did_last_counts_most() -> None:
    model = circle_model()
    first_last = [listed(model, one_session(*items))[:5] for items in ((5, 25), (25, 5))]
    assert {item // 10 for item in first_last[0][:2]} == {2}
    assert {item // 10 for item in first_last[1][:2]} == {0}


def test_a_request_does_not_depend_on_its_batch() -> None:
    model = circle_model()
    sessions = labelled(circle_sessions(3, 150, CUT, CUT + DAY)).sessions
    assert len(sessions) > AT_ONCE
    known = circle_sessions(4, len(sessions), 0, CUT).sessions
    together = model.propose(sessions, known)
    scores = model.calibrate(model.rank(together.features))
    assert ((scores >= 0) & (scores <= 1)).all()
    for row in range(0, len(sessions), 13):
        alone = model.propose(sessions.take(np.array([row])), known.take(np.array([row])))
        rows = together.users == row
        assert alone.items.tolist() == together.items[rows].tolist()
        assert alone.source_scores.tobytes() == together.source_scores[rows].tobytes()
        assert alone.features.tobytes() == together.features[rows].tobytes()
        assert model.calibrate(model.rank(alone.features)).tobytes() == scores[rows].tobytes()


def test_rows_ascend_and_have_a_source() -> None:
    candidates = circle_proposer().propose(labelled(circle_sessions(3, 20, CUT, CUT + DAY)).sessions)
    assert (np.diff(candidates.users * N_ITEMS + candidates.items) > 0).all()
    assert candidates.provenance.any(axis=1).all()
    assert candidates.source_scores.shape[1] == len(SOURCES)
    assert candidates.features.shape[1] == len(circle_proposer().feature_names)


def test_a_session_without_events_gets_nothing() -> None:
    sessions = Histories(np.array([0, 0, 1]), np.array([3], np.int32), np.zeros(1, np.int8), np.array([CUT]))
    candidates = circle_proposer().propose(sessions)
    assert set(candidates.users.tolist()) == {1}
    assert candidates.n_users == 2
    nobody = circle_proposer().propose(Histories(np.zeros(1, np.int64), *(np.zeros(0, np.int64),) * 3))
    assert len(nobody.items) == 0


def test_unavailable_items_are_never_proposed() -> None:
    proposer = circle_proposer()
    available = np.arange(N_ITEMS) % 2 == 0
    facts = replace(proposer.facts, available=available)
    sessions = labelled(circle_sessions(3, 20, CUT, CUT + DAY)).sessions
    candidates = SessionProposer(proposer.tables, facts, proposer.config).propose(sessions)
    assert set(np.unique(candidates.users).tolist()) == set(range(len(sessions)))
    assert available[candidates.items].all()


def test_a_filter_acts_before_the_candidates_are_cut_to_size() -> None:
    proposer = circle_proposer()
    config = proposer.config.model_copy(update={"per_source": (3, 3, 3), "popular": 5})
    small = SessionProposer(proposer.tables, proposer.facts, config)
    plain = small.propose(one_session(5, 6))
    forbidden = plain.items[plain.source_scores[:, 0] > 0]
    admitted = small.propose(one_session(5, 6), admit=lambda users, items: ~np.isin(items, forbidden))
    assert not np.isin(admitted.items, forbidden).any()
    assert (admitted.source_scores[:, 0] > 0).sum() == 3  # others move up
    nothing = small.propose(one_session(5, 6), admit=lambda users, items: np.zeros(len(items), bool))
    assert len(nothing.items) == 0


def test_a_filter_gets_the_positions_of_the_whole_batch() -> None:
    proposer = circle_proposer()
    sessions = labelled(circle_sessions(3, 150, CUT, CUT + DAY)).sessions
    last = len(sessions) - 1
    assert last >= AT_ONCE
    candidates = proposer.propose(sessions, admit=lambda users, items: users == last)
    assert set(candidates.users.tolist()) == {last}


def test_items_without_neighbours_are_filled_up_with_popular_ones() -> None:
    proposer = circle_proposer()
    config = small_session_config()
    log = circle_sessions(0, 400, 0, CUT)
    tables = fit_session_tables(log, CUT, N_ITEMS + 1, config)  # nobody has met the last item
    candidates = SessionProposer(tables, ItemFacts.none(N_ITEMS + 1), config).propose(one_session(N_ITEMS))
    popular = candidates.source_scores[:, SOURCES.index("popular")] > 0
    assert popular.sum() == proposer.config.popular
    assert N_ITEMS in candidates.items.tolist()


def test_the_history_of_a_known_user_has_features_and_a_source() -> None:
    known = Histories(
        np.array([0, 3]), np.array([40, 40, 6], np.int32), np.zeros(3, np.int8), np.array([CUT - 3, CUT - 2, CUT - 1])
    )
    candidates = circle_proposer().propose(one_session(5), known)
    own = candidates.source_scores[:, SOURCES.index("own")] > 0
    assert sorted(candidates.items[own].tolist()) == [6, 40]
    events = dict(zip(candidates.items.tolist(), column(candidates, "own_events").tolist(), strict=True))
    assert (events[40], events[6]) == (2, 1)
    assert set(column(candidates, "own_events")[~own].tolist()) == {0.0}
    unknown = circle_proposer().propose(one_session(5), Histories(np.zeros(2, np.int64), *(np.zeros(0, np.int64),) * 3))
    without = circle_proposer().propose(one_session(5))
    assert np.isnan(column(without, "own_events")).all()
    assert unknown.features.tobytes() == without.features.tobytes()


def test_events_of_all_types_count() -> None:
    candidates = circle_proposer().propose(one_session(5, 6, event=CART))
    steps = dict(zip(candidates.items.tolist(), column(candidates, "item_event").tolist(), strict=True))
    assert steps[6] == CART
    assert (column(candidates, "last_event") == CART).all()


def test_categories_and_numbers_are_compared_with_those_of_the_session() -> None:
    """The last item weighs 1, the one before it exp(-1 / 2)."""
    proposer = circle_proposer()
    category = (np.arange(N_ITEMS) // 2).astype(np.int32)
    category[7] = -1
    facts = replace(
        proposer.facts, category=category, numbers=np.arange(N_ITEMS)[:, None] / 10, number_names=("price",)
    )
    model = SessionProposer(proposer.tables, facts, proposer.config)
    candidates = model.propose(one_session(3, 4))
    row = {item: place for place, item in enumerate(candidates.items.tolist())}
    values = {name: candidates.features[:, place] for place, name in enumerate(model.feature_names)}
    earlier = np.exp(-0.5)
    assert [values["category_last"][row[item]] for item in (3, 4, 5)] == [0, 1, 1]
    assert values["category_session"][row[5]] == pytest.approx(1 / (1 + earlier))
    assert values["category_session"][row[2]] == pytest.approx(earlier / (1 + earlier))
    assert np.isnan(values["category_last"][row[7]])
    assert np.isnan(values["category_session"][row[7]])
    mean = (0.4 + 0.3 * earlier) / (1 + earlier)
    assert values["number_price"][row[5]] == pytest.approx(0.5 - mean, abs=1e-6)


def test_vectors_and_positions_are_those_of_the_session() -> None:
    tables = circle_proposer().tables
    candidates = circle_proposer().propose(one_session(3, 4, 3, 5))
    row = {item: place for place, item in enumerate(candidates.items.tolist())}
    vectors = tables.vectors["matrix"][tables.vectors["rows"]].astype(np.float64)
    mean = vectors[5] + np.exp(-0.5) * vectors[3] + np.exp(-1.0) * vectors[4]
    mean /= np.linalg.norm(mean)
    for item in (3, 5, 6):
        assert column(candidates, "cosine_last")[row[item]] == pytest.approx(vectors[item] @ vectors[5], abs=1e-5)
        assert column(candidates, "cosine_session")[row[item]] == pytest.approx(vectors[item] @ mean, abs=1e-5)
    assert [column(candidates, "item_steps")[row[item]] for item in (3, 4, 5, 6)] == [2, 1, 1, 0]
    assert [column(candidates, "item_distance")[row[item]] for item in (3, 4, 5)] == [1, 2, 0]
    assert np.isnan(column(candidates, "item_distance")[row[6]])
    assert set(column(candidates, "session_steps").tolist()) == {4}
    assert set(column(candidates, "session_items").tolist()) == {3}
    scores = candidates.source_scores[:, 0]
    assert column(candidates, "neighbours_score") == pytest.approx(scores / scores.max())
    ranks = column(candidates, "neighbours_rank")
    assert ranks[np.argmax(scores)] == 0
    assert np.isnan(ranks[scores == 0]).all()


def test_the_arrays_fit_their_specs_and_come_back() -> None:
    tables = circle_proposer().tables
    arrays, specs = tables.arrays(), session_arrays()
    assert arrays.keys() == specs.keys()
    sizes = check_shapes(arrays, specs, {"items": N_ITEMS, "users": 1, "categories": 1})
    check_values(arrays, specs, sizes)
    check_finite(arrays, specs)
    again = SessionTables.from_arrays(arrays).arrays()
    assert {name: array.tobytes() for name, array in again.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }


def test_tables_of_no_session_propose_nothing_but_the_session() -> None:
    config = small_session_config()
    none = circle_sessions(0, 400, 0, CUT).take(np.zeros(0, np.int64))
    tables = fit_session_tables(none, CUT, N_ITEMS, config)
    sizes = {"items": N_ITEMS, "users": 1, "categories": 1}
    check_shapes(tables.arrays(), session_arrays(), sizes)
    candidates = SessionProposer(tables, ItemFacts.none(N_ITEMS), config).propose(one_session(5, 6))
    assert candidates.items.tolist() == [5, 6]


def test_a_model_with_some_features_makes_these_columns() -> None:
    model = circle_proposer()
    names = ("item_steps", "neighbours_score")
    some = SessionProposer(model.tables, model.facts, model.config, names).propose(one_session(5, 6))
    every = model.propose(one_session(5, 6))
    for place, name in enumerate(names):
        assert some.features[:, place].tobytes() == column(every, name).tobytes()
    with pytest.raises(ModelError, match="there is no feature unheard"):
        SessionProposer(model.tables, model.facts, model.config, ("unheard",))


def test_every_feature_has_a_meaning() -> None:
    assert all(FEATURES.values())
    assert circle_proposer().feature_names == tuple(FEATURES)


def test_decays_are_chosen_that_are_as_good_or_better() -> None:
    proposer = circle_proposer()
    prefixes = labelled(circle_sessions(5, 60, CUT, CUT + DAY))
    bad = proposer.config.model_copy(
        update={"neighbours": proposer.config.neighbours.model_copy(update={"query_decay": 0.01, "before": 1.0})}
    )
    chosen = tuned(proposer.tables, prefixes, bad)

    def quality(config: object) -> float:
        settings = chosen if config == chosen else bad
        return mrr(neighbour_ranks(proposer.tables, prefixes, settings.neighbours, settings), 20)

    assert quality(chosen) >= quality(bad)
    assert chosen.neighbours.before == 1.0  # not one of the settings that are chosen
