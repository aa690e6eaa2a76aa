"""The decision on planted figures."""

import numpy as np
import pytest

from recsys.evaluation.metrics import Resampling
from recsys.gates.decision import Figures, Verdict, without_figures

RESAMPLING = Resampling(0)


def figures(lead: float, noise: float = 0.0, margin: float = 0.02, users: int = 400) -> Figures:
    """Production has 0.5 on average; the challenger leads it by `lead`, and by more or less for some users."""
    production = np.linspace(0.2, 0.8, users)
    spread = np.random.default_rng(1).permutation(np.linspace(-noise, noise, users))
    return Figures.create(production + lead + spread, production, margin, RESAMPLING)


@pytest.mark.parametrize(
    ("lead", "noise", "outcome"),
    [
        (0.1, 0.0, "promoted"),
        (0.0, 0.0, "promoted"),  # equal
        (-0.009, 0.0, "promoted"),  # worse, but certainly by less than the margin of 0.01
        (-0.011, 0.0, "kept"),
        (-0.005, 0.3, "kept"),  # too noisy to exclude a loss beyond the margin
        (0.0, 0.3, "kept"),
        (0.05, 0.3, "promoted"),
        (-0.1, 0.0, "kept"),
    ],
)
def test_the_low_end_of_the_interval_decides(lead: float, noise: float, outcome: str) -> None:
    found = figures(lead, noise)
    assert found.bound == pytest.approx(-0.01)
    assert found.difference.mean == pytest.approx(lead)
    assert found.verdict.outcome == outcome
    assert (found.difference.low >= found.bound) == (outcome == "promoted")
    assert f"{found.difference.mean:+.4f}" in found.verdict.reason


def test_users_are_paired() -> None:
    """The two metrics differ far more between users than within one."""
    assert figures(-0.005, 0.01).verdict.outcome == "promoted"


def test_a_margin_of_zero_asks_for_no_loss() -> None:
    assert figures(-0.001, margin=0).verdict.outcome == "kept"
    assert figures(0.001, margin=0).verdict.outcome == "promoted"


def test_too_few_users_tell_nothing() -> None:
    found = figures(0.1, users=3)
    assert found.verdict.outcome == "promoted"
    kept = found.verdict_of(3, 100)
    assert kept == Verdict("kept", "3 users are too few for a comparison; expected 100 (retrain.min_users)")
    assert found.verdict_of(100, 100) == found.verdict


def test_two_models_that_find_nothing_are_not_equal() -> None:
    nothing = np.zeros(400)
    found = Figures.create(nothing, nothing, 0.02, RESAMPLING)
    assert found.verdict_of(400, 100).outcome == "kept"


@pytest.mark.parametrize(
    ("challenger", "production", "outcome"),
    [
        (True, None, "promoted"),
        (False, None, "promoted"),
        (False, True, "kept"),  # not learned never replaces learned
        (False, False, "promoted"),
        (True, True, None),
        (True, False, None),
    ],
)
def test_decisions_without_figures(challenger: bool, production: bool | None, outcome: str | None) -> None:
    verdict = without_figures(challenger, production)
    assert (None if verdict is None else verdict.outcome) == outcome
