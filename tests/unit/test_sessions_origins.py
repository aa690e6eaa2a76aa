"""The item of a session that each recommendation follows from, and how the session ranker's score adds up."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.histories import Histories
from recsys.inference import mixed
from recsys.inference.options import BatchOptions
from recsys.inference.recommender import Recommendations, Recommender
from recsys.inference.sentences import load_sentences
from recsys.registry.bundle import Bundle
from recsys.schema import EVENT_TYPES, PURCHASE, UNKNOWN, VIEW
from recsys.serving.api.explanations import explanation_messages
from recsys.sessions.log import distinct_steps, steps_of
from recsys.sessions.model import SessionModel
from recsys.sessions.origins import Pairs, origins
from recsys.sessions.settings import SOURCES
from tests.support.bundles import small_bundle, with_sessions
from tests.support.shop_data import END
from tests.support.soak import SOAK, scaled


@cache
def session_bundle() -> Bundle:
    return with_sessions(small_bundle())


def session_model() -> SessionModel:
    model = session_bundle().sessions
    if model is None:
        raise LookupError("the version has no session model")
    return model


N_ITEMS = len(session_bundle().items)
EVENTS = st.lists(
    st.tuples(st.integers(0, N_ITEMS - 1), st.sampled_from(range(len(EVENT_TYPES)))), min_size=1, max_size=6
)


def visit(events: list[tuple[int, int]]) -> Histories:
    """One session that ends at END, a minute for each event."""
    items, types = zip(*events, strict=True)
    times = END - 60_000 * np.arange(len(events))[::-1]
    return Histories(np.array([0, len(events)]), np.int32(items), np.int8(types), times.astype(np.int64))


def recommended(session: Histories, n: int = 10) -> Recommendations:
    in_session, explained = np.ones(len(session.times), bool), np.array([n])
    recommender = Recommender.from_bundle(session_bundle())
    options = BatchOptions(n, np.zeros(1, np.int8), explained=explained, in_session=in_session)
    return mixed.recommend(recommender, session, END, options)


@pytest.mark.slow
@settings(max_examples=scaled(60, 5_000), derandomize=not SOAK, database=None, deadline=None)
@given(events=EVENTS)
def test_any_session_explains_its_list(events: list[tuple[int, int]]) -> None:
    best, english = recommended(visit(events)), load_sentences().templates["en"]
    strongest: dict[int, int] = {}
    for item, event in events:
        strongest[item] = max(event, strongest.get(item, VIEW))
    explanations = best.explanations
    assert explanations is not None
    assert explanations.offsets.tolist() == best.offsets.tolist()
    sums = explanations.biases + explanations.others + explanations.contributions.sum(axis=1)
    np.testing.assert_allclose(sums, explanations.raw_scores, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(session_model().calibrate(explanations.raw_scores), best.lgb_scores)
    columns = (best.items, explanations.sources, explanations.origins, explanations.events)
    names = Recommender.from_bundle(session_bundle()).source_names
    for row, (item, source, origin, event) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        assert best.provenance[row, source]
        assert origin in strongest or (origin == UNKNOWN and names[source] == "popular")
        if origin != UNKNOWN:
            assert event == strongest[origin]
            assert (origin == item) is (names[source] == "session")
    for why in explanation_messages(explanations, 0, 10, session_bundle(), english):
        assert {part["name"] for part in why["features"]} <= set(session_model().feature_names)
        assert all(part["meaning"] for part in why["features"])
        assert "{" not in why["sentence"]


@pytest.mark.parametrize(("proposed", "source"), [(("pairs", "vectors"), "pairs"), (("vectors", "popular"), "vectors")])
def test_the_item_with_the_largest_part_is_followed(proposed: tuple[str, ...], source: str) -> None:
    tables = session_model().tables
    table = getattr(tables, source)
    session = visit([(3, VIEW), (4, PURCHASE), (5, VIEW)])
    config = session_model().config
    query = distinct_steps(steps_of(session), N_ITEMS, config.weights.by_code(), config.last_steps)
    parts = np.zeros((len(query.items), N_ITEMS))
    decay = getattr(config, source).decay
    for row, item in enumerate(query.items):
        entries = slice(*table["offsets"][item : item + 2])
        weight = np.exp(-query.slot[row] / decay) * query.weight[row]
        parts[row, table["items"][entries]] = weight * table["scores"][entries]
    items = parts.any(axis=0).nonzero()[0]
    provenance = np.tile([name in proposed for name in SOURCES], (len(items), 1))
    pairs = Pairs(np.zeros(len(items), np.int64), items.astype(np.int32), provenance)
    followed = origins(tables, query, None, pairs, config)
    assert len(items)
    assert followed.items.tolist() == query.items[parts[:, items].argmax(axis=0)].tolist()
    assert set(followed.sources.tolist()) == {SOURCES.index(source)}


def test_neighbours_follow_the_last_item_and_own_items_themselves() -> None:
    session, known = visit([(3, VIEW), (4, PURCHASE)]), visit([(7, PURCHASE), (7, VIEW), (8, VIEW)])
    provenance = np.array([[name == source for name in SOURCES] for source in ("neighbours", "own", "popular", "own")])
    pairs = Pairs(np.zeros(4, np.int64), np.array([20, 7, 7, 9], np.int32), provenance)
    followed = session_model().origins(session, known, pairs)
    assert followed.items.tolist() == [4, 7, UNKNOWN, UNKNOWN]
    assert followed.events.tolist() == [PURCHASE, PURCHASE, UNKNOWN, UNKNOWN]
    assert [SOURCES[source] for source in followed.sources] == ["neighbours", "own", "popular", "own"]
