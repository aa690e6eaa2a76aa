"""The contract of every ranker backend, and training."""

from functools import cache

import hypothesis
import hypothesis.extra.numpy
import numpy as np
import pytest
from hypothesis import strategies

from recsys.errors import ModelError
from recsys.evaluation import metrics
from recsys.models.rankers import xgboost as xgboost_ranker
from recsys.models.rankers.registry import RANKERS, RankerConfig, path_contributions_of, ranker_from_text, train
from recsys.models.rankers.rows import RankingData, TrainingSet
from tests.support.planted import GOOD_CATEGORY, NAMES, planted
from tests.support.soak import SOAK, scaled

OBJECTIVES = ["lambdarank", "binary"]


ADDS_UP = {"lightgbm": 1e-6, "xgboost": 1e-4}
"""By backend: the largest gap between a raw score and the sum of its contributions."""


def learn_from(data, valid=None, categorical=("category",)):
    return TrainingSet([data], valid, NAMES, categorical)


def config(backend="lightgbm", **settings):
    return RankerConfig(backend=backend, min_child_samples=20, threads=1, **settings)


def probe(signal, category):
    return np.float32([[signal, category, 0.0]])


@pytest.fixture(scope="module")
def ranker():
    return train(learn_from(planted(), planted(50, seed=1)), config())


@pytest.mark.parametrize("objective", ["lambdarank", "binary"])
@pytest.mark.parametrize("backend", RANKERS.names)
class TestEveryBackend:
    """What the rest of the package relies on, whatever grows the trees."""

    @pytest.fixture
    def trained(self, backend, objective):
        settings = config(backend, objective=objective, max_trees=30)
        return train(learn_from(planted()), settings)

    def test_it_learns_the_planted_rule(self, trained):
        assert trained.predict(probe(2, 0))[0] > trained.predict(probe(-2, 0))[0]
        assert trained.predict(probe(0, GOOD_CATEGORY))[0] > trained.predict(probe(0, GOOD_CATEGORY + 1))[0]

    def test_predictions_are_a_float64_a_row(self, trained):
        scores = trained.predict(planted().features)
        assert scores.shape == (3000,)
        assert scores.dtype == np.float64
        assert trained.predict(np.zeros((0, 3), np.float32)).shape == (0,)

    def test_a_row_scores_the_same_alone_and_among_others(self, trained):
        rows = planted().features[:50]
        alone = np.concatenate([trained.predict(rows[i : i + 1]) for i in range(50)])
        assert (alone == trained.predict(rows)).all()

    def test_its_text_is_its_state(self, trained, backend):
        again = ranker_from_text(trained.to_text(), backend)
        features = planted(seed=2).features
        assert (again.predict(features) == trained.predict(features)).all()
        assert again.to_text() == trained.to_text()
        assert again.feature_names == NAMES
        assert again.n_trees == trained.n_trees == 30

    def test_importance_names_every_feature_best_first(self, trained):
        importance = trained.importance()
        assert set(importance) == set(NAMES)
        assert list(importance)[-1] == "noise"
        assert list(importance.values()) == sorted(importance.values(), reverse=True)

    def test_contributions_add_up_to_the_score(self, trained):
        rows = planted(seed=3).features[:200]
        shares = trained.contributions(rows)
        assert shares.shape == (200, len(NAMES) + 1)
        assert shares.sum(axis=1) == pytest.approx(trained.predict(rows), abs=1e-4)
        assert np.abs(shares[:, 0]).mean() > 2 * np.abs(shares[:, 2]).mean()  # the signal against the noise
        assert np.ptp(shares[:, -1]) == 0
        assert trained.contributions(rows[:0]).shape == (0, len(NAMES) + 1)

    def test_contributions_along_paths_add_up_too_and_agree_on_what_counts(self, trained, backend):
        rows = np.concatenate([planted(seed=3).features[:200], probe(np.nan, np.nan), probe(0, 99)])
        parts, averaged = trained.path_contributions(rows), trained.contributions(rows)
        assert parts.shape == averaged.shape
        assert parts.dtype == np.float64
        assert np.abs(parts.sum(axis=1) - trained.predict(rows)).max() <= ADDS_UP[backend]
        assert parts[:, -1] == pytest.approx(averaged[:, -1], abs=1e-4)
        assert np.corrcoef(parts[:, 0], averaged[:, 0])[0, 1] > 0.9
        assert trained.path_contributions(rows[:0]).shape == (0, len(NAMES) + 1)

    def test_training_again_gives_the_same_model(self, trained, backend, objective):
        settings = config(backend, objective=objective, max_trees=30)
        again = train(learn_from(planted()), settings)
        assert again.to_text() == trained.to_text()

    def test_its_first_trees_are_what_fewer_trees_give(self, trained, backend, objective):
        fewer = train(learn_from(planted()), config(backend, objective=objective, max_trees=9))
        first, rows = trained.first(9), np.concatenate([planted(seed=3).features[:200], probe(0, 99)])
        assert first.n_trees == 9
        np.testing.assert_array_equal(first.predict(rows), fewer.predict(rows))

    def test_an_unseen_category_is_like_a_missing_one(self, trained):
        assert trained.predict(probe(0, 99)) == trained.predict(probe(0, -1))

    def test_a_text_that_is_no_model_is_an_error(self, trained, backend):
        with pytest.raises(ModelError, match="not a"):
            ranker_from_text("tree soup", backend)


def test_rounds_that_add_no_tree_end_the_training():
    """Rows of which every split leaves too few, but for some draws."""
    rng = np.random.default_rng(0)
    features = (rng.random((300, 3)) < 0.5).astype(np.float32)
    labels = (rng.random(300) < 0.2 + 0.3 * features[:, 0]).astype(np.int8)
    rows = RankingData(features, labels, np.full(30, 10))
    few, seen = RankerConfig(objective="binary", bagging_fraction=0.7), []
    ranker = train(
        TrainingSet([rows], rows, ["a", "b", "c"], []),
        few.model_copy(update={"max_trees": 30, "early_stopping_rounds": 30, "min_improvement": 0}),
        watch=lambda n_trees, _, scores: seen.append((n_trees, scores())),
    )
    assert 0 < ranker.n_trees < 30
    for n_trees, scores in seen[: ranker.n_trees]:
        assert ranker.first(n_trees).predict(features) == pytest.approx(scores, abs=1e-6)
    fixed = train(TrainingSet([rows], None, ["a", "b", "c"], []), few, n_trees=30)
    assert fixed.n_trees < 30


@pytest.mark.parametrize("backend", RANKERS.names)
def test_early_stopping_keeps_the_trees_that_were_best_on_validation(backend):
    seen = []
    ranker = train(
        learn_from(planted(), planted(50, seed=1)),
        config(backend, early_stopping_rounds=5, max_trees=200, min_improvement=0),
        watch=lambda n_trees, ndcg, _: seen.append((n_trees, ndcg)),
    )
    n_trees, ndcg = zip(*seen, strict=True)
    assert list(n_trees) == list(range(1, len(seen) + 1))
    assert ranker.n_trees == np.argmax(ndcg) + 1 < len(seen) < 200


@pytest.mark.parametrize("objective", ["lambdarank", "binary"])
@pytest.mark.parametrize("backend", RANKERS.names)
def test_the_scores_of_validation_rows_can_be_watched(backend, objective):
    valid, seen = planted(50, seed=1), {}

    def watch(n_trees, _, raw):
        if n_trees in (3, 10):
            seen[n_trees] = raw()

    settings = config(backend, objective=objective, max_trees=10, early_stopping_rounds=10)
    data = learn_from(planted(), valid)
    train(data, settings, watch=watch)
    for n_trees, scores in seen.items():
        expected = train(data, settings, n_trees=n_trees).predict(valid.features)
        np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert set(seen) == {3, 10}


@pytest.mark.parametrize("backend", RANKERS.names)
def test_parts_are_learned_from_like_one(backend):
    data = planted()
    cut = 40 * 20
    parts = [
        RankingData(data.features[:cut], data.labels[:cut], data.groups[:40]),
        RankingData(data.features[cut:], data.labels[cut:], data.groups[40:]),
    ]
    whole, joined = learn_from(data), TrainingSet(parts, None, NAMES, ["category"])
    assert train(whole, config(backend, max_trees=5)).to_text() == train(joined, config(backend, max_trees=5)).to_text()


@pytest.mark.parametrize("backend", RANKERS.names)
def test_one_training_leaves_nothing_behind_for_the_next(backend):
    """Rows are made ready once for all trainings that ask the same of them."""
    shared = learn_from(planted(), planted(50, seed=1))
    settings = [
        config(backend, max_trees=8),
        config(backend, max_trees=8, learning_rate=0.3, num_leaves=5, lambda_l2=1.0),
        config(backend, max_trees=8).model_copy(update={"min_child_samples": 5}),
        config(backend, max_trees=8, max_bin=31),
        config(backend, max_trees=8, objective="binary"),
    ]
    for chosen in (*settings, settings[0]):
        alone = learn_from(planted(), planted(50, seed=1))
        assert train(shared, chosen).to_text() == train(alone, chosen).to_text()


@pytest.mark.parametrize("backend", RANKERS.names)
def test_validation_groups_without_weight_are_not_judged(backend):
    """Their labels are the opposite of what was learned."""
    good, bad = planted(50, seed=1), planted(50, seed=2)
    both = RankingData(
        np.concatenate([good.features, bad.features]),
        np.concatenate([good.labels, 1 - bad.labels]),
        np.concatenate([good.groups, bad.groups]),
        np.repeat([1, 0], [len(good.labels), len(bad.labels)]).astype(np.float32),
    )
    found = []
    for valid in (good, both):
        ndcgs = []
        settings = config(backend, max_trees=5)
        train(learn_from(planted(), valid), settings, watch=lambda _, ndcg, __, ndcgs=ndcgs: ndcgs.append(ndcg))
        found.append(ndcgs)
    np.testing.assert_allclose(found[0], found[1])


def ndcg_of(scores, valid):
    """The mean NDCG@10 over the query groups with a hit, computed from the raw scores."""
    values = []
    borders = np.cumsum(valid.groups)[:-1]
    for own, labels in zip(np.split(scores, borders), np.split(valid.labels, borders), strict=True):
        if labels.any():
            hit = labels[np.argsort(-own, kind="stable")][None] > 0
            values.append(metrics.ndcg(hit, np.array([labels.sum()]), 10)[0])
    return np.mean(values)


def mostly_without_a_hit(weighted):
    """Validation rows of 50 query groups, of which the first 35 have no hit; weighted: these weigh nothing."""
    valid = planted(50, seed=1)
    labels = valid.labels.copy()
    labels[: 35 * 20] = 0
    weights = np.repeat([0, 1], [35 * 20, 15 * 20]).astype(np.float32) if weighted else None
    return RankingData(valid.features, labels, valid.groups, weights)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("objective", ["lambdarank", "binary"])
@pytest.mark.parametrize("backend", RANKERS.names)
def test_validation_groups_without_a_hit_do_not_count(backend, objective, weighted):
    """The NDCG is that of the other groups, and training stops at the tree at which it stops without them."""
    valid, seen = mostly_without_a_hit(weighted), []
    settings = config(backend, objective=objective, max_trees=60, early_stopping_rounds=5)
    ranker = train(
        learn_from(planted(), valid),
        settings,
        watch=lambda _, ndcg, scores: seen.append((ndcg, ndcg_of(scores(), valid))),
    )
    logged, expected = np.array(seen).T
    np.testing.assert_allclose(logged, expected, atol=1e-6)
    assert 0.2 < logged.min() <= logged.max() < 1
    rows = slice(35 * 20, None)
    others = RankingData(valid.features[rows], valid.labels[rows], valid.groups[35:])
    assert ranker.to_text() == train(learn_from(planted(), others), settings).to_text()


@pytest.mark.parametrize("backend", RANKERS.names)
def test_a_part_without_rows_changes_nothing(backend):
    """A label window in which nobody chose a candidate."""
    empty = RankingData(np.zeros((0, 3), np.float32), np.zeros(0, np.int8), np.zeros(0, np.int64))
    alone = train(learn_from(planted()), config(backend, max_trees=5))
    for parts in ([empty, planted()], [planted(), empty]):
        joined = TrainingSet(parts, None, NAMES, ["category"])
        assert train(joined, config(backend, max_trees=5)).to_text() == alone.to_text()


@pytest.mark.parametrize("backend", RANKERS.names)
def test_a_fixed_number_of_trees_needs_no_validation(backend):
    reported = []
    ranker = train(learn_from(planted()), config(backend), n_trees=7, watch=lambda *row: reported.append(row[:2]))
    assert ranker.n_trees == 7
    assert np.isnan([ndcg for _, ndcg in reported]).all()
    with_validation = train(learn_from(planted(), planted(seed=1)), config(backend), n_trees=7)
    assert with_validation.n_trees == 7


def test_threads_do_not_change_predictions():
    features = planted(seed=3).features
    scores = [
        train(learn_from(planted()), settings, n_trees=20).predict(features)
        for settings in (config(), config().model_copy(update={"threads": 2}))
    ]
    assert (scores[0] == scores[1]).all()


@pytest.mark.parametrize("backend", RANKERS.names)
def test_weights_and_grades_are_used(backend):
    data = planted()
    heavy = np.where(data.features[:, 0] > 1, 10, 1).astype(np.float32)
    grades = data.labels + (data.labels & (data.features[:, 0] > 2))
    plain = train(learn_from(data), config(backend), n_trees=5)
    for changed in (
        RankingData(data.features, data.labels, data.groups, heavy),
        RankingData(data.features, grades, data.groups),
    ):
        other = train(learn_from(changed), config(backend), n_trees=5)
        assert (other.predict(data.features) != plain.predict(data.features)).any()


@pytest.mark.parametrize("backend", RANKERS.names)
def test_negative_categories_are_missing_without_a_word(backend, capfd):
    data = planted(n_groups=2000)
    before = data.features.copy()
    settings = config(backend).model_copy(update={"threads": 2})
    ranker = train(learn_from(data, planted(seed=1)), settings, n_trees=3)
    assert "".join(capfd.readouterr()) == ""
    assert (data.features == before).all()
    assert ranker.predict(probe(0, -1)) == ranker.predict(probe(0, np.nan))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(3000, np.int8)}, "0 positive labels in 3000 rows"),
        ({"labels": np.ones(3000, np.int8)}, "3000 positive labels"),
        ({"labels": np.r_[np.full(1, 9), np.zeros(2999)].astype(np.int8)}, "labels from 0 to 9"),
        ({"labels": np.r_[np.full(1, -1), np.ones(2999)].astype(np.int8)}, "labels from -1 to 1"),
        ({"groups": np.array([2999])}, "add up to 3000"),
        ({"groups": np.array([3000, 0])}, "groups of at least one row"),
        ({"features": np.zeros((3000, 2), np.float32)}, "expected \\(3000, 3\\)"),
    ],
)
@pytest.mark.parametrize("backend", RANKERS.names)
def test_data_that_cannot_be_learned_from_is_an_error(backend, change, message):
    data = planted()
    parts = {"features": data.features, "labels": data.labels, "groups": data.groups} | change
    with pytest.raises(ModelError, match=message):
        train(learn_from(RankingData(**parts)), config(backend))


def test_no_rows_and_unknown_categorical_names_are_errors():
    nothing = RankingData(np.zeros((0, 3), np.float32), np.zeros(0, np.int8), np.zeros(0, np.int32))
    with pytest.raises(ModelError, match="0 positive labels in 0 rows"):
        learn_from(nothing)
    with pytest.raises(ModelError, match="validation data: 0 positive"):
        learn_from(planted(), nothing)
    with pytest.raises(ModelError, match="colour"):
        learn_from(planted(), categorical=["colour"])


class TestXGBoost:
    """What is particular to it."""

    def test_a_leaf_weighs_as_much_as_the_rows_asked_for(self):
        """Each weighs p (1 - p) for the binary objective, where p is its start: a Newton step away from 1/2."""
        data, settings = learn_from(planted()), config("xgboost", objective="binary")
        start = 1 / (1 + np.exp(-(data.parts[0].labels.mean() - 0.5) / 0.25))
        assert xgboost_ranker.leaf_weight(data, settings) == pytest.approx(20 * start * (1 - start), rel=1e-4)

    def test_codes_it_did_not_see_and_negative_ones_count_as_missing(self):
        features = np.float32([[0, 3], [1, -1], [2, 4], [3, np.nan], [4, 9], [5, np.inf]])
        known = xgboost_ranker.category_tables(["number", "code"], {"code": [3, 5, 9]})
        found = xgboost_ranker.with_missing(features, known)
        np.testing.assert_array_equal(found[:, 1], [3, np.nan, np.nan, np.nan, 9, np.nan])
        assert (found[:, 0] == features[:, 0]).all()
        assert features[2, 1] == 4
        assert xgboost_ranker.with_missing(found[:1], known).base is found

    @pytest.mark.parametrize(
        "text", ["", "tree\nversion=v4\n" + 500 * "x", "{}", '{"learner": 1', '{"version": [2, 0, 3]}']
    )
    def test_other_texts_are_errors_of_one_line(self, text):
        with pytest.raises(ModelError, match="not an XGBoost model in JSON") as caught:
            ranker_from_text(text, "xgboost")
        assert "\n" not in str(caught.value)

    def test_gains_of_grades_are_what_it_learns(self):
        data = planted()
        settings = config("xgboost", label_gain=(0.0, 5.0))
        assert set(xgboost_ranker.labels(data, settings)) == {0.0, 5.0}
        assert set(xgboost_ranker.labels(data, config("xgboost", objective="binary"))) == {0.0, 1.0}


@cache
def learned(backend, objective):
    return train(learn_from(planted()), config(backend, objective=objective, max_trees=40))


ROWS = hypothesis.extra.numpy.arrays(
    np.float32,
    strategies.tuples(strategies.integers(0, 8), strategies.just(len(NAMES))),
    elements=strategies.one_of(
        strategies.floats(-5, 5, width=32), strategies.integers(-2, 12).map(float), strategies.just(np.nan)
    ),
)


@pytest.mark.slow
@hypothesis.settings(max_examples=scaled(100, 25_000), derandomize=not SOAK, database=None, deadline=None)
@hypothesis.given(
    rows=ROWS, backend=strategies.sampled_from(RANKERS.names), objective=strategies.sampled_from(OBJECTIVES)
)
def test_contributions_of_any_rows_add_up(rows, backend, objective):
    """Also of missing values, and of categories that training never met."""
    ranker = learned(backend, objective)
    scores = ranker.predict(rows)
    for contributions in (ranker.contributions(rows), ranker.path_contributions(rows)):
        np.testing.assert_allclose(contributions.sum(axis=1), scores, rtol=0, atol=ADDS_UP[backend])


def test_a_ranker_that_lacks_contributions_has_its_score_in_the_last_column():
    class Plain:
        def predict(self, features):
            return features[:, 0].astype(np.float64)

    rows = planted().features[:5]
    whole = path_contributions_of(Plain(), rows)
    assert whole.shape == (5, len(NAMES) + 1)
    assert not whole[:, :-1].any()
    np.testing.assert_array_equal(whole[:, -1], rows[:, 0].astype(np.float64))
