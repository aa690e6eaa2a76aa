import numpy as np
import pytest

from recsys.evaluation import curves, metrics
from recsys.evaluation.curves import Ranking, Spread, reliability, thinned


def scored(n: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Chances that hold, with many ties."""
    rng = np.random.default_rng(3)
    scores = np.round(rng.beta(1, 8, n), 2)
    return rng.random(n) < scores, scores


def area(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.trapezoid(y, x))


def test_a_threshold_lets_through_what_scores_as_high_or_higher() -> None:
    ranking = Ranking.from_scores(np.array([True, False, True, False]), np.array([0.9, 0.5, 0.5, 0.1]))
    assert ranking.thresholds.tolist() == [0.9, 0.5, 0.1]
    assert (ranking.hits.tolist(), ranking.misses.tolist()) == ([1, 2, 2], [0, 1, 2])
    assert [values.tolist() for values in ranking.roc() or ()] == [[0, 0, 0.5, 1], [0, 0.5, 1, 1]]
    recall, precision = ranking.precision_recall() or ()
    assert recall.tolist() == [0.5, 1, 1]
    assert precision.tolist() == pytest.approx([1, 2 / 3, 1 / 2])
    assert ranking.best_f1() == (0.5, pytest.approx(0.8))


@pytest.mark.parametrize("labels", [[], [True, True], [False, False]])
def test_curves_need_hits_and_misses(labels: list[bool]) -> None:
    ranking = Ranking.from_scores(np.array(labels, bool), np.arange(len(labels), dtype=float))
    assert (ranking.roc(), ranking.precision_recall(), ranking.best_f1()) == (None, None, None)


def test_thinned_curves_keep_their_areas() -> None:
    labels, _ = scored()
    scores = np.random.default_rng(0).random(len(labels)) + 0.3 * labels
    ranking = Ranking.from_scores(labels, scores)
    x, y = ranking.roc() or ()
    assert len(x) <= curves.POINTS < len(ranking.hits)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert area(x, y) == pytest.approx(metrics.roc_auc(labels, scores), abs=0.003)


def test_thinning_leaves_few_points_alone() -> None:
    x, y = np.arange(5.0), np.zeros(5)
    assert thinned(x, y)[0] is x
    far, level = thinned(np.arange(1000.0), np.zeros(1000), 10)
    assert (far[0], far[-1], len(far), set(level)) == (0, 999, 10, {0})


def test_reliability_of_chances_that_hold() -> None:
    labels, scores = scored()
    found = reliability(labels, scores)
    assert found is not None
    assert found.counts.sum() == len(scores)
    assert (np.diff(found.predicted) > 0).all()
    assert ((found.low <= found.predicted) & (found.predicted <= found.high)).mean() > 0.8
    assert found.error < 0.02
    wrong = reliability(labels, np.sqrt(scores))
    assert wrong is not None
    assert wrong.error == pytest.approx((np.sqrt(scores) - scores).mean(), abs=0.02)


def test_equal_scores_are_one_bin() -> None:
    found = reliability(np.array([True, False, False, False]), np.full(4, 0.25))
    assert found is not None
    assert (found.predicted.tolist(), found.observed.tolist(), found.error) == ([0.25], [0.25], 0)
    assert reliability(np.zeros(0, bool), np.zeros(0)) is None


def test_wilson_intervals_are_the_textbook_ones() -> None:
    low, high = curves.wilson(np.array([0.1, 0.0]), np.array([50, 10]))
    assert low.tolist() == pytest.approx([0.0435, 0], abs=1e-3)
    assert high.tolist() == pytest.approx([0.2136, 0.2775], abs=1e-3)


def test_spread_of_events() -> None:
    spread = Spread.from_counts(np.array([1, 1, 1, 1, 1, 1, 1, 1, 2, 10, 0]))
    assert (spread.sizes.tolist(), spread.counts.tolist(), spread.total) == ([1, 2, 10], [8, 1, 1], 10)
    assert (spread.median(), spread.events_of_top(0.1), spread.events_of_top(0.2)) == (1, 0.5, 0.6)
    x, y = spread.survival()
    assert x.tolist() == pytest.approx([1, 2, 10])
    assert y.tolist() == pytest.approx([1, 0.2, 0.1])
    assert [values.tolist() for values in spread.concentration()] == [[0, 0.1, 0.2, 1], [0, 0.5, 0.6, 1]]


def test_spreads_of_parts_add_up() -> None:
    events = np.random.default_rng(0).zipf(1.5, 1000)
    parts = [Spread.from_counts(events[:300]), Spread.from_counts(events[300:])]
    whole = Spread.from_counts(np.concatenate([p.sizes for p in parts]), np.concatenate([p.counts for p in parts]))
    assert (whole.sizes.tolist(), whole.counts.tolist()) == (
        Spread.from_counts(events).sizes.tolist(),
        Spread.from_counts(events).counts.tolist(),
    )


def test_nothing_is_spread() -> None:
    spread = Spread.from_counts(np.zeros(3, np.int64))
    assert (spread.total, spread.median(), spread.events_of_top(0.1)) == (0, 0, 0)
