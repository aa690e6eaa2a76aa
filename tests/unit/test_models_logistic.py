import numpy as np
import pytest
from pydantic import ValidationError

from recsys.errors import ModelError
from recsys.models.logistic import NORMALIZATIONS, LogisticConfig, fit_path, signed_log
from recsys.models.rankers.rows import RankingData


def rows(n_groups: int = 60, seed: int = 0) -> RankingData:
    """Ten rows a group: a count with a long tail that hits follow, one with gaps, noise, and a constant."""
    rng = np.random.default_rng(seed)
    n = 10 * n_groups
    count = np.floor(np.exp(rng.normal(2, 1.5, n)))
    gaps = np.where(rng.random(n) < 0.5, np.nan, rng.random(n))
    features = np.column_stack((count, gaps, rng.random(n), np.ones(n), np.full(n, np.nan))).astype(np.float32)
    labels = (np.log1p(count) + rng.normal(0, 0.5, n) > 3).astype(np.int8)
    return RankingData(features, labels, np.full(n_groups, 10))


ALL = np.arange(5)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_it_learns_and_bears_what_is_missing_or_constant(normalization: str) -> None:
    [weak, model] = fit_path([rows(30), rows(30, 1)], ALL, normalization, [1e-6, 1.0], 10_000)
    fresh = rows(20, 2)
    scores = model.predict(fresh.features)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert scores[fresh.labels > 0].mean() > scores[fresh.labels == 0].mean() + 2
    assert np.ptp(weak.predict(fresh.features)) < np.ptp(scores) / 100
    assert model.columns.tolist() == [0, 1, 2]
    assert len(model.predict(fresh.features[:0])) == 0


def test_the_logarithm_tames_long_tails() -> None:
    """One huge count must not outweigh all others."""
    fresh = rows(20, 2).features[:1].copy()
    fresh[0, 0] = 1e6
    scores = {
        name: fit_path([rows()], ALL, name, [1.0], 10_000)[0].predict(fresh)[0]  # type: ignore[arg-type]
        for name in ("standardize", "logarithm")
    }
    assert scores["standardize"] > 100 * scores["logarithm"]
    assert signed_log(np.array([-1.0, 0.0, np.nan, np.e - 1])) == pytest.approx([-np.log(2), 0, np.nan, 1], nan_ok=True)


def test_normalization_learns_from_the_training_rows_alone() -> None:
    [model] = fit_path([rows()], ALL, "quantile", [1.0], 10_000)
    fresh = rows(20, 2).features
    np.testing.assert_array_equal(model.predict(fresh)[:5], model.predict(fresh[:5]))


def test_of_many_rows_whole_groups_are_left_out() -> None:
    data = rows()
    spoilt = RankingData(data.features.copy(), data.labels.copy(), data.groups)
    odd = np.repeat(np.arange(60), 10) % 2 == 1
    spoilt.features[odd], spoilt.labels[odd] = 1e9, 1
    every, half = (fit_path([d], ALL, "standardize", [1.0], 300)[0].predict(data.features) for d in (data, spoilt))
    np.testing.assert_array_equal(every, half)


def test_nothing_to_learn() -> None:
    data = rows()
    with pytest.raises(ModelError, match="0 hits in 600 rows"):
        fit_path([RankingData(data.features, data.labels * 0, data.groups)], ALL, "standardize", [1.0], 10_000)
    with pytest.raises(ModelError, match="each of 2 features has one value"):
        fit_path([data], np.array([3, 4]), "standardize", [1.0], 10_000)
    with pytest.raises(ModelError, match="0 hits in 0 rows"):
        fit_path([], ALL, "standardize", [1.0], 10_000)


def test_settings_are_checked() -> None:
    for wrong in ({"normalizations": []}, {"normalizations": ["none"]}, {"strengths": [0.0]}):
        with pytest.raises(ValidationError):
            LogisticConfig.model_validate(wrong)
