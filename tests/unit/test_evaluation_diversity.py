import numpy as np
import pytest

from recsys.evaluation.diversity import different_categories
from recsys.schema import UNKNOWN


def test_known_answers() -> None:
    """Items 0 and 1 are of category 0, item 2 of 1, item 3 of none."""
    category = np.array([0, 0, 1, UNKNOWN])
    ranked = np.array([[0, 1, 2, 3], [0, 1, UNKNOWN, UNKNOWN], [2, 3, UNKNOWN, UNKNOWN], [0, 2, 1, 3]])
    assert different_categories(ranked, category, 4) == pytest.approx([2 / 3, 0, np.nan, 2 / 3], nan_ok=True)
    assert different_categories(ranked, category, 2) == pytest.approx([0, 0, np.nan, 1], nan_ok=True)
    assert different_categories(ranked[:0], category, 4).shape == (0,)
