"""Explanations of recommendations in a small shop: what each follows from, and how its raw score adds up."""

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.arrays import best_match
from recsys.histories import Histories
from recsys.inference.batch import EXPLANATIONS, recommend_to
from recsys.inference.explanations import Chosen, Explanations, largest_parts
from recsys.inference.recommender import Recommendations, Recommender
from recsys.inference.sentences import load_sentences, sentences_of
from recsys.models.rankers.registry import Ranker
from recsys.registry.bundle import Bundle, read
from recsys.retrieval.neighbours import Neighbours, neighbour_origins, propose_neighbours
from recsys.retrieval.sources.base import Batch
from recsys.retrieval.sources.registry import SOURCES
from recsys.schema import CART, DAY, OBJECTIVES, PURCHASE, UNKNOWN, VIEW
from tests.support.bundles import attributed_bundle, retrained, small_bundle
from tests.support.formats import FORMATS
from tests.support.shop_data import END
from tests.support.soak import SOAK, scaled
from tests.support.world import NOBODY_DID_ANYTHING

WITHOUT_ORIGIN = {"recent", "popular", "fresh"}


@cache
def bundle() -> Bundle:
    """With a ranker of its own for items that are new to a user."""
    plain = small_bundle()
    other = retrained(plain)
    manifest = plain.manifest.model_copy(update={"discovery_blend": other.manifest.blend})
    return replace(plain, manifest=manifest, discovery_ranker=other.ranker)


@cache
def recommender() -> Recommender:
    return Recommender.from_bundle(bundle())


@cache
def everybody() -> Histories:
    """All users of the small shop and, first, one without a history."""
    return Histories.concat([NOBODY_DID_ANYTHING, bundle().snapshot.histories])


def explained(histories: Histories, n: int, objectives: np.ndarray, counts: np.ndarray) -> Recommendations:
    return recommender()(histories, END, n, objectives, explained=counts)


def rows_of(explanations: Explanations, user: int) -> slice:
    return slice(*explanations.offsets[user : user + 2].tolist())


def sums(explanations: Explanations) -> np.ndarray:
    """What the parts of each raw score add up to."""
    return explanations.biases + explanations.others + explanations.contributions.sum(axis=1)


REQUESTS = st.lists(
    st.tuples(st.integers(0, 200), st.sampled_from(range(len(OBJECTIVES))), st.sampled_from([0, 1, 3, 8])),
    min_size=1,
    max_size=5,
)


@pytest.mark.slow
@settings(max_examples=scaled(100, 5_000), derandomize=not SOAK, database=None, deadline=None)
@given(requests=REQUESTS)
def test_any_batch_is_explained_as_its_requests_alone(requests: list[tuple[int, int, int]]) -> None:
    """Requests with and without explanations in one batch, each with its own objective."""
    users, objectives, counts = (np.array(column) for column in zip(*requests, strict=True))
    codes = objectives.astype(np.int8)
    histories = everybody().take(users)
    best = explained(histories, 8, codes, counts)
    plain = recommender()(histories, END, 8, codes)
    assert best.items.tolist() == plain.items.tolist()
    if not counts.any():
        assert best.explanations is None
        return
    assert best.explanations is not None
    for position, (user, objective, count) in enumerate(requests):
        check_user(best, position, histories, objective, count)
        if count:
            alone = explained(everybody().take([user]), 8, codes[[position]], counts[[position]]).explanations
            rows = rows_of(best.explanations, position)
            for field in fields(Explanations)[1:]:
                np.testing.assert_array_equal(getattr(best.explanations, field.name)[rows], getattr(alone, field.name))


def check_user(best: Recommendations, position: int, histories: Histories, objective: int, count: int) -> None:
    """The explanations of one user of a batch, by what the history and the rankers tell."""
    explanations = best.explanations
    assert explanations is not None
    rows, start, end = rows_of(explanations, position), *best.offsets[position : position + 2].tolist()
    assert rows.stop - rows.start == min(count, end - start)
    own = histories.take(np.array([position]))
    events: dict[int, int] = {}
    for item, event in zip(own.items.tolist(), own.events.tolist(), strict=True):
        events[item] = max(event, events.get(item, VIEW))
    if rows.stop > rows.start:
        raw = explanations.raw_scores[rows]
        assert np.isnan(raw).all() == (not events)
        if events:
            np.testing.assert_allclose(sums(explanations)[rows], raw, rtol=0, atol=1e-6)
            blend = bundle().manifest.blends[objective == OBJECTIVES.index("discover")]
            scores = best.lgb_scores[start : start + len(raw)]
            np.testing.assert_array_equal(blend(raw, np.full(len(raw), np.nan))[1], scores)
    columns = (explanations.sources, explanations.origins, explanations.events, explanations.positions)
    listed = zip(*(column[rows].tolist() for column in columns), best.items[start:end].tolist(), strict=False)
    for offset, (source, origin, event, in_lists, item) in enumerate(listed):
        assert best.provenance[start + offset, source]
        name = bundle().manifest.sources[source]
        assert (in_lists == UNKNOWN) is bool(events)
        if origin == UNKNOWN:
            assert event == UNKNOWN
            assert name in WITHOUT_ORIGIN
        else:
            assert event == events[origin]
            assert name not in WITHOUT_ORIGIN
            assert (origin == item) is (name == "own")


def test_a_user_without_events_is_told_the_position_in_the_lists() -> None:
    best = explained(NOBODY_DID_ANYTHING, 30, np.zeros(1, np.int8), np.array([30]))
    assert best.explanations is not None
    recent, popular = (bundle().tables.retrieval.sources[name]["items"] for name in ("recent", "popular"))
    in_order = [*recent.tolist(), *popular.tolist()]
    assert best.explanations.positions.tolist() == [in_order.index(item) + 1 for item in best.items.tolist()]
    assert (best.explanations.origins == UNKNOWN).all()
    assert set(best.explanations.sources.tolist()) <= {
        bundle().manifest.sources.index(name) for name in ("recent", "popular")
    }


def test_an_item_that_no_source_proposed_has_the_sentence_of_other_sources() -> None:
    """Such as one that a rule pins."""
    histories = Histories.concat([NOBODY_DID_ANYTHING, everybody().take(np.array([5]))])
    candidates, features = recommender().propose(histories, END, np.zeros(2, np.int8), None)
    offsets = candidates.offsets
    nowhere = replace(candidates, source_scores=np.full_like(candidates.source_scores, np.nan)).take(offsets[:2])
    chosen = Chosen(np.array([0, 1, 2]), nowhere, features[offsets[:2]], np.zeros(2))
    explanations = recommender().explainer(chosen, histories, END)
    for column in (explanations.sources, explanations.origins, explanations.positions):
        assert column.tolist() == [UNKNOWN, UNKNOWN]
    english = load_sentences().templates["en"]
    assert sentences_of(explanations, slice(None), bundle(), english) == [english.alone["other"]] * 2


def test_lists_without_items_have_no_explanations() -> None:
    repeat = np.full(2, OBJECTIVES.index("repeat"), np.int8)
    best = explained(Histories.concat([NOBODY_DID_ANYTHING] * 2), 5, repeat, np.full(2, 5))
    assert len(best.items) == 0
    assert best.explanations is not None
    assert best.explanations.offsets.tolist() == [0, 0, 0]


def a_user(*events: tuple[int, int, float]) -> Histories:
    """One user with events (item, type, days before END)."""
    items, types, days = np.array(events).reshape(-1, 3).T
    zeros = np.zeros(len(items), np.int64)
    return Histories.build(zeros, items.astype(int), types.astype(int), (END - days * DAY).astype(np.int64), 1)


def batch_of(history: Histories) -> Batch:
    return Batch(recommender().candidates.profile(history, END), 30)


def origins(name: str, history: Histories, items: list[int]) -> list[int]:
    """The items of the history that a source followed to some items, UNKNOWN for none."""
    batch, tables = batch_of(history), bundle().tables
    users, codes = np.zeros(len(items), np.int64), np.array(items, np.int32)
    rows = SOURCES[name].origins(tables.retrieval.sources[name], batch, tables.statistics, users, codes)
    return np.append(batch.profiles.by_item.things, UNKNOWN)[rows].tolist()


def test_own_follows_the_item_itself() -> None:
    assert origins("own", a_user((4, VIEW, 3), (9, CART, 1)), [9, 4, 5]) == [9, 4, UNKNOWN]


def test_category_follows_the_item_of_the_category_with_the_most_interest() -> None:
    category = bundle().tables.statistics.category
    first, second, third, target = np.flatnonzero(category == category[0])[:4].tolist()
    other = int(np.flatnonzero((category != category[0]) & (category != UNKNOWN))[0])
    without = int(np.flatnonzero(category == UNKNOWN)[0])
    history = a_user(
        (first, VIEW, 1), (second, PURCHASE, 2), (third, PURCHASE, 60), (other, PURCHASE, 0), (other, CART, 0)
    )
    assert origins("category", history, [target, other, without]) == [second, other, UNKNOWN]
    assert origins("category", a_user((other, VIEW, 1)), [target]) == [UNKNOWN]
    assert origins("category", a_user((without, VIEW, 1)), [target, without]) == [UNKNOWN, UNKNOWN]


TABLE = Neighbours.build(
    np.array([0, 0, 1, 1, 2]), np.array([5, 6, 5, 7, 8]), np.array([0.4, 0.2, 0.1, 0.9, 0.5], np.float32), 60, 5
).arrays()


def test_neighbours_follow_the_seed_with_the_largest_part() -> None:
    """Item 5 is nearer to item 0, but item 1 was bought; item 8 is a neighbour of no seed."""
    batch = batch_of(a_user((0, VIEW, 0), (1, PURCHASE, 0)))
    rows = neighbour_origins(TABLE, batch.seeds, np.zeros(4, np.int64), np.array([5, 6, 7, 8], np.int32))
    assert rows.tolist() == [1, 0, 1, UNKNOWN]
    bought = batch_of(a_user((0, PURCHASE, 0), (1, PURCHASE, 0)))
    assert neighbour_origins(TABLE, bought.seeds, np.zeros(1, np.int64), np.array([5])).tolist() == [0]
    nobody = batch_of(NOBODY_DID_ANYTHING)
    assert neighbour_origins(TABLE, nobody.seeds, np.zeros(1, np.int64), np.array([5])).tolist() == [UNKNOWN]


@pytest.mark.parametrize("name", ["covisitation", "mf_neighbours"])
def test_neighbours_follow_what_their_score_adds_up_from(name: str) -> None:
    """Without the item that is followed, the score of the proposal falls the most."""
    table = bundle().tables.retrieval.sources[name]
    batch = batch_of(bundle().snapshot.histories.take(np.array([3])))
    scored = propose_neighbours(table, batch.seeds, 1)
    rows = neighbour_origins(table, batch.seeds, scored.users, scored.items)
    seeds = batch.seeds
    fractions = seeds.scores / seeds.scores.sum()
    offsets = table["offsets"]
    for item, row, score in zip(scored.items[:20], rows[:20], scored.scores[:20], strict=True):
        parts = np.zeros(len(seeds.items))
        for position, seed in enumerate(seeds.items):
            own = slice(offsets[seed], offsets[seed + 1])
            parts[position] = fractions[position] * table["scores"][own][table["items"][own] == item].sum()
        assert parts.sum() == pytest.approx(score)
        assert seeds.items[parts.argmax()] == batch.profiles.by_item.things[row]


def test_the_best_row_of_a_key() -> None:
    keys, scores = np.array([7, 3, 7, 3, 9]), np.array([0.1, 0.5, 0.3, 0.5, 1.0])
    assert best_match(np.array([3, 7, 8, 3]), keys, scores).tolist() == [1, 2, UNKNOWN, 1]
    assert best_match(np.zeros(0, np.int64), keys, scores).tolist() == []
    assert best_match(np.array([3]), keys[:0], scores[:0]).tolist() == [UNKNOWN]


class WithoutContributions:
    """A ranker as a shop might write it, which cannot tell how its scores come about."""

    def __init__(self, ranker: Ranker) -> None:
        self.predict, self.feature_names = ranker.predict, ranker.feature_names


def test_a_ranker_that_lacks_contributions_serves_with_its_whole_score_as_bias() -> None:
    plain = WithoutContributions(bundle().ranker)
    served = Recommender.from_bundle(replace(bundle(), ranker=plain))
    best = served(everybody().take(np.array([5])), END, 5, explained=np.array([5]))
    assert best.explanations is not None
    assert not best.explanations.contributions.any()
    np.testing.assert_array_equal(best.explanations.biases, best.explanations.raw_scores)


def test_a_version_from_before_explanations_has_them_too() -> None:
    opened = read(FORMATS / "2" / "version")
    served, histories = Recommender.from_bundle(opened), opened.snapshot.take(np.arange(5))
    best = served(histories, opened.manifest.live_watermark, 5, explained=np.full(5, 5))
    assert best.explanations is not None
    np.testing.assert_allclose(sums(best.explanations), best.explanations.raw_scores, rtol=0, atol=1e-6)
    assert (best.explanations.origins != UNKNOWN).any()


def test_the_largest_parts_come_first_and_the_others_are_summed() -> None:
    features = np.float32([[10, 20, 30, 40], [50, 60, 70, np.nan]])
    contributions = np.array([[0.5, -2, 1, 0.25, 7], [0, 0.125, -0.25, 4, 7]])
    columns, values, largest, others, biases = largest_parts(features, contributions)
    assert columns.tolist() == [[1, 2, 0], [3, 2, 1]]
    np.testing.assert_array_equal(values, [[20, 30, 10], [np.nan, 70, 60]])
    assert largest.tolist() == [[-2, 1, 0.5], [4, -0.25, 0.125]]
    assert (others.tolist(), biases.tolist()) == ([0.25, 0], [7, 7])
    columns, _, largest, others, _ = largest_parts(features[:, :2], contributions[:, [0, 1, 4]])
    assert columns.tolist() == [[1, 0, UNKNOWN], [1, 0, UNKNOWN]]
    assert largest.tolist() == [[-2, 0.5, 0], [0.125, 0, 0]]
    assert others.tolist() == [0, 0]


def test_a_batch_has_columns_of_explanations() -> None:
    opened = attributed_bundle()
    users = opened.snapshot.users.values[:20]
    plain = recommend_to(users, opened, Recommender.from_bundle(opened), 5)
    table = recommend_to(users, opened, Recommender.from_bundle(opened), 5, templates=load_sentences().templates["en"])
    assert table.column_names == [*plain.column_names, *EXPLANATIONS]
    assert table.select(plain.column_names) == plain
    titles = dict(zip(opened.items.values.to_pylist(), opened.texts["title"].to_pylist(), strict=True))
    names = set(opened.manifest.sources)
    followed = 0
    for row in table.select(["itemid", *EXPLANATIONS]).to_pylist():
        assert set(row["sources"].split(",")) <= names
        if row["because_of"] not in (None, row["itemid"]):
            followed += 1
            assert f"“{titles[row['because_of']] or row['because_of']}”" in row["sentence"]
    assert followed
