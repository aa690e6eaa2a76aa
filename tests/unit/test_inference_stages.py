from dataclasses import replace

import numpy as np
import pytest

from recsys.arrays import ranked_lists
from recsys.histories import Histories
from recsys.inference.recommender import Recommendations, Recommender, StageScores
from recsys.inference.stages import CandidateStage, chunks, score_cold_start
from recsys.models.blend import Blend, Calibration
from recsys.retrieval.generator import Candidates
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.schema import DAY, DISCOVER, REPEAT, UNKNOWN
from tests.support.bundles import BLEND, small_ranker
from tests.support.features import NAMES, SOURCES
from tests.support.shop_data import END
from tests.support.soak import scaled
from tests.support.world import NOBODY_DID_ANYTHING, NONE, small_config, small_world


@pytest.fixture
def histories() -> Histories:
    """All users of the small shop and, first, one without a history."""
    return Histories.concat([NOBODY_DID_ANYTHING, small_world().partition.histories])


@pytest.fixture
def recommender() -> Recommender:
    tables, config = small_world().tables, small_config().inference
    stage = CandidateStage(tables, NO_PRERANKERS, config)
    return Recommender(tables, stage, (small_ranker(), small_ranker()), (BLEND, BLEND), config)


def stages_of(histories: Histories) -> dict[str, list[np.ndarray]]:
    """What each stage says, as lists with one array for each user."""
    tables, config = small_world().tables, small_config().inference
    stage = CandidateStage(tables, NO_PRERANKERS, config)
    profiles = stage.profile(histories, END)
    candidates = stage(profiles)
    features = stage.features(profiles, candidates)
    user_factors, warm = tables.factors.fold_in(histories)
    mf = tables.factors.score(user_factors, candidates.users, candidates.items)
    by_pair = {
        "candidates": candidates.items,
        "source scores": candidates.source_scores,
        "provenance": candidates.provenance,
        "features": features,
        "factorization": mf,
        "ranker": small_ranker().predict(features),
    }
    borders = candidates.offsets[1:-1]
    result = {name: np.split(values, borders) for name, values in by_pair.items()}
    return result | {"user factors": list(user_factors), "warm": list(warm)}


def assert_same_bits(one: dict[str, list[np.ndarray]], other: dict[str, list[np.ndarray]]) -> None:
    for name, arrays in one.items():
        for user, (a, b) in enumerate(zip(arrays, other[name], strict=True)):
            assert a.dtype == b.dtype, name
            assert a.tobytes() == b.tobytes(), f"{name} of user {user}"


def test_a_batch_says_what_each_user_alone_is_told(histories: Histories) -> None:
    together = stages_of(histories)
    alone = [stages_of(histories.take(np.array([user]))) for user in range(len(histories))]
    assert_same_bits(together, {name: [one[name][0] for one in alone] for name in together})


def test_neither_the_order_nor_the_size_of_a_batch_matters(histories: Histories) -> None:
    order = np.random.default_rng(0).permutation(len(histories))
    together, shuffled = stages_of(histories), stages_of(histories.take(order))
    assert_same_bits({name: [values[user] for user in order] for name, values in together.items()}, shuffled)
    parts = [stages_of(histories.take(users)) for users in chunks(histories, 37)]
    assert_same_bits(together, {name: [one for part in parts for one in part[name]] for name in together})


def test_recommendations_are_in_parity_too(recommender: Recommender, histories: Histories) -> None:
    together = recommender(histories, END, 5)
    for user in range(0, len(histories), scaled(10, 1)):
        alone = recommender(histories.take(np.array([user])), END, 5)
        mine = slice(together.offsets[user], together.offsets[user + 1])
        for name in ("items", "scores", "lgb_scores", "mf_scores", "provenance"):
            assert getattr(together, name)[mine].tobytes() == getattr(alone, name).tobytes(), name
        assert together.warm[user] == alone.warm[0]
        assert together.n_candidates[user] == alone.n_candidates[0]


def test_recommendations_are_ordered_by_score(recommender: Recommender, histories: Histories) -> None:
    found = recommender(histories, END, 8)
    assert (np.diff(found.offsets) == 8).all()
    scores = found.scores.reshape(-1, 8)
    assert (np.diff(scores, axis=1) <= 0).all()
    for values in (found.scores, found.lgb_scores):
        assert ((values >= 0) & (values <= 1)).all()
    known = ~np.isnan(found.mf_scores)
    assert known.any()
    assert ((found.mf_scores[known] >= 0) & (found.mf_scores[known] <= 1)).all()
    mixed = np.where(known, 0.8 * found.lgb_scores + 0.2 * found.mf_scores, found.lgb_scores)
    np.testing.assert_array_equal(found.scores, mixed)


def test_a_user_without_history_gets_popular_items(recommender: Recommender) -> None:
    found = recommender(NOBODY_DID_ANYTHING, END, 10)
    recent = small_world().tables.retrieval.sources["recent"]["items"]
    assert len(found.items) == 10
    assert found.items.tolist() == recent[:10].tolist()
    assert not found.warm[0]
    assert np.isnan(found.mf_scores).all()
    assert found.scores.tolist() == found.lgb_scores.tolist()


def test_a_newcomer_gets_recent_popularity_first_and_then_the_rest_of_all_time(recommender: Recommender) -> None:
    found = recommender(NOBODY_DID_ANYTHING, END, 1000)
    recent, popular = (small_world().tables.retrieval.sources[name]["items"] for name in ("recent", "popular"))
    in_order = dict.fromkeys([*recent.tolist(), *popular.tolist()])
    assert found.items.tolist() == [item for item in in_order if item in found.items]
    assert (np.diff(found.scores) < 0).all()


def test_newcomers_do_not_change_the_scores_of_others(histories: Histories) -> None:
    tables, config = small_world().tables, small_config().inference
    stage = CandidateStage(tables, NO_PRERANKERS, config)
    profiles = stage.profile(histories, END)
    candidates = stage(profiles)
    raw = small_ranker().predict(stage.features(profiles, candidates))
    known = histories.lengths[candidates.users] > 0
    assert not known.all()
    np.testing.assert_array_equal(score_cold_start(raw, profiles.histories, candidates, config)[known], raw[known])


def test_fewer_items_than_asked_for(recommender: Recommender, histories: Histories) -> None:
    found = recommender(histories, END, 10_000)
    assert np.diff(found.offsets).tolist() == found.n_candidates.tolist()


def test_sold_out_items_are_not_recommended(recommender: Recommender, histories: Histories) -> None:
    found = recommender(histories, END, 30)
    assert small_world().tables.statistics.available[found.items].all()


def test_the_newest_events_count_up_to_the_cap(histories: Histories) -> None:
    config = small_config("inference.history.max_events=4").inference
    stage = CandidateStage(small_world().tables, NO_PRERANKERS, config)
    profiles = stage.profile(histories, END)
    assert profiles.histories.lengths.max() == 4
    assert profiles.histories.times.tolist() == histories.latest(4).times.tolist()


def test_the_clock_ages_what_happened(histories: Histories) -> None:
    stage = CandidateStage(small_world().tables, NO_PRERANKERS, small_config().inference)
    today, later = (stage.profile(histories, END + days * DAY) for days in (0, 3))
    column = NAMES.index("user_days_idle")
    candidates = stage(today)
    gap = stage.features(later, candidates)[:, column] - stage.features(today, candidates)[:, column]
    np.testing.assert_allclose(gap[~np.isnan(gap)], 3, atol=1e-4)


@pytest.fixture
def three_items() -> Candidates:
    scores = np.full((3, len(SOURCES)), np.nan, np.float32)
    scores[:, 0] = 1
    known = Candidates.given(2, np.array([1, 1, 1]), np.array([4, 6, 8], np.int32), scores)
    return replace(known, in_history=np.ones(3, bool))


def selected(
    candidates: Candidates, lgb: list[float], mf: list[float], n: int, *, share: float = 1.0, asked: float | None = None
) -> Recommendations:
    same = Calibration(slope=1.0, intercept=0.0)
    blend = Blend(alpha=0.5, lgb=same, mf=same)
    tables, config = small_world().tables, small_config().inference.model_copy(update={"repeat_cap": share})
    recommender = Recommender(tables, CandidateStage(tables, NO_PRERANKERS, config), (), (blend, blend), config)
    wanted = None if asked is None else np.full(2, asked)
    caps = recommender.repeat_caps(candidates.objectives, wanted)
    both = Histories.concat([small_world().partition.histories.take(np.array([0]))] * 2)
    raw = StageScores(np.array(lgb), np.float32(mf), np.array([False, True]))
    return recommender.combine(both, candidates, raw, n, caps)


def test_ties_go_to_the_smaller_code(three_items: Candidates) -> None:
    found = selected(three_items, [1, 2, 1], [np.nan] * 3, 2)
    assert found.items.tolist() == [6, 4]
    assert found.offsets.tolist() == [0, 0, 2]
    assert found.n_candidates.tolist() == [0, 3]


def test_the_blend_counts_where_there_are_two_scores(three_items: Candidates) -> None:
    found = selected(three_items, [0, 0, 0], [-1, np.nan, 1], 3)
    assert found.items.tolist() == [8, 6, 4]
    assert found.scores[1] == found.lgb_scores[1] == 0.5


def test_a_list_may_have_a_cap_on_items_the_user_had(three_items: Candidates) -> None:
    three_items.in_history[2] = False
    assert selected(three_items, [3, 2, 1], [np.nan] * 3, 3).items.tolist() == [4, 6, 8]
    assert selected(three_items, [3, 2, 1], [np.nan] * 3, 3, share=0.5).items.tolist() == [4, 8, 6]
    assert selected(three_items, [3, 2, 1], [np.nan] * 3, 3, share=0.5, asked=0.0).items.tolist() == [8]
    assert selected(three_items, [3, 2, 1], [np.nan] * 3, 3, share=0.5, asked=np.nan).items.tolist() == [4, 8, 6]
    assert selected(three_items, [3, 2, 1], [np.nan] * 3, 3, asked=0.0).n_candidates.tolist() == [0, 3]


@pytest.mark.parametrize("objective", [DISCOVER, REPEAT])
def test_only_lists_of_all_items_have_a_cap(three_items: Candidates, objective: int) -> None:
    candidates = replace(three_items, objectives=np.full(2, objective, np.int8))
    assert selected(candidates, [3, 2, 1], [np.nan] * 3, 3, share=0.0).items.tolist() == [4, 6, 8]


def test_ranked_lists_are_padded() -> None:
    lists = ranked_lists(np.array([0, 0, 2]), np.array([5, 3, 1]), np.array([1.0, 1.0, 0.0]), 3, 2)
    assert lists.tolist() == [[3, 5], [UNKNOWN, UNKNOWN], [1, UNKNOWN]]
    assert lists.dtype == np.int32


def test_chunks_cover_everyone(histories: Histories) -> None:
    parts = chunks(histories, 90)
    assert [len(part) for part in parts[:-1]] == [90] * (len(parts) - 1)
    assert np.concatenate(parts).tolist() == list(range(len(histories)))
    assert list(chunks(histories.take(NONE), 90)) == []
