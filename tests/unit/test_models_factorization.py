"""Item factors, fold-in and scores."""

import numpy as np
import pytest
from cmfrec import CMF_implicit
from scipy import sparse

from recsys.errors import ModelError
from recsys.histories import Histories
from recsys.models.factorization import FactorizationConfig, fit, with_confidence
from recsys.models.factors import ItemFactors, cells
from recsys.schema import CART, PURCHASE, UNKNOWN, VIEW, EventWeights


def histories(rows):
    """From (user, item, event) in the order of time."""
    users, items, events = np.array(rows).T
    return Histories.build(users, items, events, np.arange(len(rows)), int(users.max()) + 1)


def checkerboard(n_users=40, n_items=20):
    """Users meet every item of their own parity, except the one at their number."""
    return histories(
        [(u, i, VIEW) for u in range(n_users) for i in range(n_items) if u % 2 == i % 2 and i != u % n_items]
    )


def random_events(n_users=120, n_items=60, n_events=1500, seed=0):
    rng = np.random.default_rng(seed)
    items = np.minimum((rng.pareto(1.0, n_events) * 8).astype(int), n_items - 1)
    return (
        rng.integers(0, n_users, n_events),
        items,
        rng.integers(0, 3, n_events),
        rng.integers(0, 10_000, n_events),
    )


@pytest.fixture(scope="module")
def random_histories():
    return Histories.build(*random_events(), 120)


@pytest.fixture(scope="module")
def attributes():
    rng = np.random.default_rng(1)
    return sparse.csr_array((np.ones(60), (np.arange(60), rng.integers(0, 7, 60))), shape=(60, 9))


SMALL = FactorizationConfig(factors=8, confidence=0.03)


def test_checkerboard_is_completed():
    model = fit(checkerboard(), 20, None, FactorizationConfig(factors=2, confidence=1.0))
    users, warm = model.fold_in(checkerboard())
    scores = users @ model.factors.T
    assert warm.all()
    for user in range(len(users)):
        met = np.arange(20) % 2 == user % 2
        assert scores[user, met].min() > scores[user, ~met].max() + 0.5


@pytest.mark.parametrize("side", [False, True])
@pytest.mark.parametrize(("factors", "confidence", "regularization"), [(8, 0.03, 0.1), (16, 0.3, 1.0), (5, 1.0, 0.02)])
def test_fold_in_equals_cmfrec(monkeypatch, random_histories, attributes, side, factors, confidence, regularization):
    fitted = []
    original = CMF_implicit.fit

    def keep(self, *args, **kwargs):
        fitted.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(CMF_implicit, "fit", keep)
    config = FactorizationConfig(factors=factors, confidence=confidence, regularization=regularization)
    model = fit(random_histories, 60, attributes if side else None, config)
    user_factors, _ = model.fold_in(random_histories)
    users, items, values = cells(random_histories, model.weights, model.log_values)
    for user in range(len(random_histories)):
        own = users == user
        columns = model.rows[items[own]]
        expected = fitted[0].factors_warm(columns[columns != UNKNOWN], values[own][columns != UNKNOWN])
        np.testing.assert_allclose(user_factors[user], expected, atol=1e-4)


def test_fold_in_is_the_closed_form():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(5, 3)).astype(np.float32)
    rows = np.array([2, UNKNOWN, 0, 1, 3, 4], np.int32)
    wide = factors.astype(np.float64)
    model = ItemFactors(factors, rows, wide.T @ wide, np.array([1.0, 3, 5]), 0.7, 2.0, False)
    past = histories([(0, 0, VIEW), (0, 0, CART), (0, 1, VIEW), (0, 3, PURCHASE)])
    known, weight = wide[[2, 1]], np.array([2.0 * 4, 2.0 * 5])
    expected = np.linalg.solve(
        wide.T @ wide + 0.7 * np.eye(3) + known.T @ np.diag(weight) @ known, known.T @ (1 + weight)
    )
    np.testing.assert_allclose(model.fold_in(past)[0][0], expected, rtol=1e-6)


def test_fold_in_does_not_depend_on_the_other_users(random_histories):
    model = fit(random_histories, 60, None, SMALL)
    together, _ = model.fold_in(random_histories)
    for user in range(len(random_histories)):
        alone, _ = model.fold_in(random_histories.take(np.array([user])))
        assert (alone[0] == together[user]).all()


def test_warmth_is_an_event_on_an_item_with_a_factor():
    model = fit(checkerboard(), 22, None, FactorizationConfig(factors=2, confidence=0.1))
    past = histories([(0, 20, PURCHASE), (1, 0, VIEW), (1, 21, VIEW), (3, 1, VIEW)])
    user_factors, warm = model.fold_in(past)
    assert warm.tolist() == [False, True, False, True]
    assert not user_factors[~warm].any()
    assert model.known.tolist() == [True] * 20 + [False] * 2
    scores = model.score(user_factors, np.array([0, 1, 1, 2]), np.array([0, 0, 20, 0]))
    assert np.isnan(scores).tolist() == [True, False, True, True]
    assert scores[1] == pytest.approx(float(user_factors[1] @ model.factors[model.rows[0]]), rel=1e-5)


def test_nobody_and_no_pairs(random_histories):
    model = fit(random_histories, 60, None, SMALL)
    nobody = random_histories.take(np.zeros(0, np.int64))
    user_factors, warm = model.fold_in(nobody)
    assert user_factors.shape == (0, 8)
    assert warm.shape == (0,)
    assert model.score(user_factors, np.zeros(0, np.int64), np.zeros(0, np.int32)).shape == (0,)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_order_of_events_changes_no_bit(random_histories, attributes, threads):
    order = np.random.default_rng(5).permutation(1500)
    shuffled = Histories.build(*(column[order] for column in random_events()), 120)
    config = SMALL.model_copy(update={"threads": threads})
    one = fit(random_histories, 60, attributes, SMALL, max_users=60)
    other = fit(shuffled, 60, attributes, config, max_users=60)
    assert all((a == b).all() for a, b in zip(one.arrays().values(), other.arrays().values(), strict=True))


def test_attributes_of_items_that_nobody_met_are_harmless(random_histories):
    """cmfrec corrupts memory when it sees more rows of attributes than columns of interactions."""
    known = fit(random_histories, 60, sparse.csr_array(np.eye(60, 4)), SMALL)
    more = fit(random_histories, 5000, sparse.csr_array(np.eye(5000, 4)), SMALL)
    assert (known.factors == more.factors).all()
    assert len(more.rows) == 5000
    assert not more.known[60:].any()


def test_attributes_bring_items_of_a_category_together():
    """Items of one category share no user; with attributes their factors point the same way nonetheless."""
    rng = np.random.default_rng(0)
    rows = [(u, (u % 4) * 5 + i, VIEW) for u in range(200) for i in rng.choice(5, 3, replace=False)]
    category = np.repeat([0, 1, 0, 1], 5)
    side = sparse.csr_array((np.ones(20), (np.arange(20), category)), shape=(20, 2))

    def closeness(model):
        unit = model.factors / np.linalg.norm(model.factors, axis=1)[:, None]
        return float((unit[:5] @ unit[10:15].T).mean() - (unit[:5] @ unit[5:10].T).mean())

    config = FactorizationConfig(factors=6, confidence=0.1, attribute_weight=1.0)
    assert closeness(fit(histories(rows), 20, side, config)) > closeness(fit(histories(rows), 20, None, config)) + 0.1


def test_users_with_one_item_take_no_part_and_a_type_without_weight_does_not_count():
    past = histories([(0, 0, VIEW), (0, 1, VIEW), (1, 2, VIEW), (1, 2, CART), (2, 3, VIEW), (2, 4, CART)])
    config = SMALL.model_copy(update={"event_weights": EventWeights(addtocart=0.0)})
    assert np.flatnonzero(fit(past, 6, None, config).known).tolist() == [0, 1]


def test_a_sample_of_users_is_reproducible(random_histories):
    one = fit(random_histories, 60, None, SMALL, max_users=20)
    assert (one.factors == fit(random_histories, 60, None, SMALL, max_users=20).factors).all()
    other_seed = fit(random_histories, 60, None, SMALL.model_copy(update={"seed": 1}), max_users=20)
    assert one.factors.shape != other_seed.factors.shape or (one.factors != other_seed.factors).any()


def test_confidence_is_chosen_from_the_grid_and_kept_when_given():
    config = FactorizationConfig(factors=4, iterations=3, confidence_grid=(0.3, 0.01))
    chosen = with_confidence(checkerboard(), 20, None, config)
    assert chosen.confidence in (0.01, 0.3)
    assert chosen == with_confidence(checkerboard(), 20, None, config)
    assert with_confidence(checkerboard(), 20, None, SMALL) is SMALL
    alone = histories([(0, 0, VIEW), (1, 1, VIEW)])
    assert with_confidence(alone, 2, None, config).confidence == 0.01


def test_no_user_to_learn_from_is_an_error():
    with pytest.raises(ModelError, match="no user has 2 or more distinct items"):
        fit(histories([(0, 0, VIEW), (0, 0, VIEW), (1, 1, VIEW)]), 2, None, SMALL)


def test_arrays_round_trip_through_files(tmp_path, random_histories):
    model = fit(random_histories, 60, None, SMALL)
    for name, array in model.arrays().items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=False)
    loaded = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in model.arrays()}
    again = ItemFactors.from_arrays(loaded)
    assert isinstance(again.factors, np.memmap)
    assert (again.fold_in(random_histories)[0] == model.fold_in(random_histories)[0]).all()
