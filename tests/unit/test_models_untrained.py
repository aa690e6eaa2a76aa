import json

import numpy as np
import pytest

from recsys.errors import ModelError
from recsys.models.rankers.registry import RANKERS, UNTRAINED, RankerConfig, ranker_from_text
from recsys.models.rankers.untrained import UntrainedRanker

ROWS = np.float32([[0.5, -2.0], [1.5, 3.0]])


def test_the_score_is_the_preranker_s() -> None:
    ranker = UntrainedRanker(["item_views", "preranker_score"])
    assert ranker.predict(ROWS).tolist() == [-2.0, 3.0]
    assert ranker.predict(ROWS).dtype == np.float64
    assert ranker.predict(ROWS[:0]).shape == (0,)
    assert ranker.contributions(ROWS).tolist() == [[0.0, -2.0, 0.0], [0.0, 3.0, 0.0]]
    assert (ranker.n_trees, ranker.importance()) == (1, {})


def test_its_text_is_its_state() -> None:
    ranker = UntrainedRanker(["item_views", "preranker_score"])
    again = ranker_from_text(ranker.to_text(), UNTRAINED)
    assert json.loads(ranker.to_text()) == {"features": ["item_views", "preranker_score"]}
    assert again.feature_names == ranker.feature_names
    assert (again.predict(ROWS) == ranker.first(1).predict(ROWS)).all()


@pytest.mark.parametrize("text", ["tree soup", "{}", '{"features": ["item_views"]}', '{"features": 3}'])
def test_another_text_is_an_error(text: str) -> None:
    with pytest.raises(ModelError, match="not a text of an untrained ranker"):
        ranker_from_text(text, UNTRAINED)


def test_it_cannot_be_trained() -> None:
    assert UNTRAINED not in RANKERS.names
    with pytest.raises(ValueError, match="expected one of lightgbm"):
        RankerConfig(backend=UNTRAINED)
