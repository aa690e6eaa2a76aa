"""Calibrations and the blend."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression

from recsys.models.blend import (
    MIN_SLOPE,
    AlphaCurves,
    Blend,
    Calibration,
    HybridConfig,
    choose_alpha,
    fit_calibration,
    mix,
    score_drift,
)


def planted(n=4000, slope=2.0, intercept=-1.0, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(1.0, 3.0, n)
    return scores, rng.random(n) < 1 / (1 + np.exp(-slope * scores - intercept))


def test_calibration_finds_the_planted_sigmoid():
    scores, labels = planted(20_000, slope=0.5)
    calibration = fit_calibration(scores, labels)
    reference = LogisticRegression(C=1e6, tol=1e-9).fit(scores[:, None], labels)
    assert calibration.slope == pytest.approx(float(reference.coef_[0, 0]), rel=0.02)
    assert calibration.intercept == pytest.approx(float(reference.intercept_[0]), rel=0.02)


def test_calibration_is_the_same_in_any_order_of_rows():
    scores, labels = planted()
    order = np.random.default_rng(1).permutation(len(scores))
    assert fit_calibration(scores, labels) == fit_calibration(scores[order], labels[order])


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        planted(slope=-2.0),
        (np.linspace(-5, 5, 1000), np.linspace(-5, 5, 1000) > 0),
        (np.r_[np.linspace(0, 1e-3, 999), 1e6], np.r_[np.zeros(999), 1]),
        (np.linspace(1e8, 1e8 + 100, 101), np.arange(101) % 2),
        (np.linspace(0, 1, 500), np.zeros(500)),
        (np.linspace(0, 1, 500), np.ones(500)),
        (np.array([0.0, 1.0]), np.array([0, 1])),
    ],
    ids=["negative slope", "separated", "outlier", "far from zero", "no hits", "only hits", "two rows"],
)
def test_calibration_is_strictly_increasing_over_the_scores_seen(scores, labels):
    calibration = fit_calibration(scores, labels)
    mapped = calibration(np.sort(scores))
    assert (np.diff(mapped) > 0).all()
    assert mapped[0] >= 0
    assert mapped[-1] <= 1


def test_negative_slope_becomes_the_smallest_positive_one_and_keeps_the_base_rate():
    scores, labels = planted(slope=-2.0)
    calibration = fit_calibration(scores, labels)
    assert calibration.slope == pytest.approx(MIN_SLOPE / scores.std())
    assert calibration(scores).mean() == pytest.approx(labels.mean(), abs=0.01)


def test_calibration_of_equal_or_missing_scores_is_the_share_of_hits():
    labels = np.array([1, 0, 0, 0])
    assert fit_calibration(np.full(4, 7.0), labels)(np.array(7.0)) == pytest.approx(2 / 6)
    nothing = fit_calibration(np.full(4, np.nan), labels)
    assert nothing == Calibration(slope=1.0, intercept=0.0)


def test_calibration_leaves_out_nan_and_keeps_it():
    scores, labels = planted()
    with_gaps = np.r_[scores, np.full(100, np.nan)]
    assert fit_calibration(with_gaps, np.r_[labels, np.ones(100, bool)]) == fit_calibration(scores, labels)
    assert np.isnan(Calibration()(np.array([np.nan, 0.0]))).tolist() == [True, False]


def test_blend_uses_the_ranker_alone_where_there_is_no_factor_score():
    blend = Blend(alpha=0.25, lgb=Calibration(slope=2.0, intercept=0.0), mf=Calibration(slope=1.0, intercept=1.0))
    score, lgb, mf = blend(np.array([0.0, 1.0]), np.array([np.nan, -1.0]))
    assert lgb.tolist() == pytest.approx([0.5, 1 / (1 + np.exp(-2.0))])
    assert np.isnan(mf[0])
    assert mf[1] == 0.5
    assert score.tolist() == pytest.approx([0.5, 0.75 * lgb[1] + 0.25 * 0.5])


def test_blend_survives_json():
    scores, labels = planted()
    blend = Blend(alpha=0.1, lgb=fit_calibration(scores, labels), mf=fit_calibration(scores / 7, labels))
    assert Blend.model_validate_json(blend.model_dump_json()) == blend


@pytest.mark.parametrize("bad", [{"slope": 0.0}, {"slope": -1.0}, {"slope": float("nan")}, {"tilt": 1.0}])
def test_a_calibration_that_would_not_increase_is_refused(bad):
    with pytest.raises(ValidationError):
        Calibration.model_validate(bad)


def test_alpha_is_the_smallest_of_the_grid_that_is_about_as_good_as_the_best():
    lgb, mf = np.array([0.4, 0.6]), np.array([0.9, np.nan])
    exact = HybridConfig(grid=(1.0, 0.5, 0.0, 0.3), tolerance=0)
    best, curves = choose_alpha(lgb, mf, lambda scores: float(scores[0] > scores[1]), exact)
    assert best == 0.5
    assert curves.all_items == {0.0: 0.0, 0.3: 0.0, 0.5: 1.0, 1.0: 1.0}
    assert curves.discovery == {}
    assert choose_alpha(lgb, mf, lambda scores: 0.0, exact)[0] == 0
    loose = HybridConfig(grid=(0.0, 0.1, 1.0), tolerance=0.24)
    rising = choose_alpha(lgb, mf, lambda scores: 1 + float(scores[0]), loose)
    assert (rising[0], rising[1].all_items[1.0]) == (0.1, 1.9)
    assert choose_alpha(lgb, mf, lambda scores: 0.0, HybridConfig(alpha=0.7)) == (0.7, AlphaCurves({0.7: 0.0}))


def test_of_alphas_about_as_good_the_best_one_for_new_items_is_taken():
    level = {0.0: 0.3, 0.1: 0.2999, 0.2: 0.2990, 0.3: 0.2986, 0.5: 0.2}
    discovery = {0.0: 0.02, 0.1: 0.03, 0.2: 0.04, 0.3: 0.04, 0.5: 0.09}
    curves = AlphaCurves(level, discovery)
    assert curves.best(0.005) == 0.2  # not 0.3, which ties; not 0.5, which costs too much of the whole
    assert curves.best(0.0) == 0.0
    assert curves.best(0.5) == 0.5
    assert AlphaCurves(level).best(0.005) == 0.0
    assert AlphaCurves(level, dict.fromkeys(level, 0.0)).best(0.005) == 0.0
    backwards = dict(reversed(discovery.items()))
    assert AlphaCurves(dict(reversed(level.items())), backwards).best(0.005) == 0.2


def test_both_metrics_are_measured_on_the_blend():
    lgb, mf = np.array([0.4, 0.6]), np.array([0.9, np.nan])
    config = HybridConfig(grid=(0.0, 0.5))
    alpha, curves = choose_alpha(lgb, mf, lambda scores: 1.0, config, lambda scores: float(scores[0]))
    assert alpha == 0.5
    assert curves.discovery == {0.0: 0.4, 0.5: 0.65}
    fixed = HybridConfig(alpha=0.0)
    assert choose_alpha(lgb, mf, lambda _: 1.0, fixed, lambda scores: float(scores[0]))[1].discovery == {0.0: 0.4}


def test_mix_at_the_ends_is_one_model_alone():
    lgb, mf = np.array([0.1, 0.2]), np.array([0.3, np.nan])
    assert mix(lgb, mf, 0.0).tolist() == [0.1, 0.2]
    assert mix(lgb, mf, 1.0).tolist() == [0.3, 0.2]


def test_drift_of_shifted_scores():
    scores = np.random.default_rng(0).normal(size=1000)
    calibration = Calibration()
    assert score_drift(calibration, scores, scores[::-1]) == 0
    assert 0.2 < score_drift(calibration, scores, np.r_[scores + 1, np.nan]) < 0.25
    assert score_drift(calibration, scores, np.array([np.nan])) == 0


@pytest.mark.parametrize("grid", [(), (0.5, 1.5), (-0.1,)])
def test_a_grid_outside_0_and_1_is_refused(grid):
    with pytest.raises(ValidationError, match="between 0 and 1"):
        HybridConfig(grid=grid)
