"""What a run prints."""

from typing import Any

import pytest
from shops import small_config

from recsys.training.printing import show_metrics

K = ("ndcg@10", "recall@10", "precision@10", "hit@10", "mrr@10", "coverage@10")


def test_intervals_carry_the_configured_level(capsys: pytest.CaptureFixture[str]) -> None:
    row: dict[str, Any] = dict.fromkeys((*K, "ndcg@10_low", "ndcg@10_high", "ndcg@10_seeds"), 0.25)
    row |= {"system": "hybrid", "group": "all", "users": 7, "roc_auc": 0.875, "average_precision": None}
    metrics = {
        "table": [row],
        "new_items": [row],
        "differences": [{"system": "popularity", "mean": 0.1, "low": 0.0, "high": 0.2}],
        "candidates": {"recall": 0.5, "per_user": 20.0, "sources": []},
    }
    show_metrics(metrics, small_config("evaluation.confidence=0.9"))
    printed = capsys.readouterr().out
    assert "low, high (90%)" in printed
    assert "paired differences of ndcg@10, 90%" in printed
    assert "95%" not in printed
    assert "0.8750" in printed
