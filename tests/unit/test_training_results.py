"""The results of a run as metrics.json holds them."""

import json

import pytest

from recsys.data.catalog import TreeProblems
from recsys.data.shop import PropertyQuality, Quality
from recsys.evaluation.metrics import Difference
from recsys.evaluation.table import Row
from recsys.models.blend import AlphaCurves
from recsys.timeline import Cut
from recsys.training.plan import Plan
from recsys.training.ranker import Size
from recsys.training.results import CandidateSummary, Evaluation, Lead, SourceContribution, TrainingResult
from tests.support.shop_data import END

EVALUATION = Evaluation(
    table=[Row("hybrid", "all", 7, {"ndcg@10": 0.5}), Row("hybrid", "cold", 0, {"ndcg@10": None})],
    new_items=[Row("hybrid", "all", 5, {"ndcg@10": 0.25})],
    leads=[Lead("popularity", Difference(0.1, 0.05, 0.15))],
    half_lives={"personal frequency, 60 days": 60.0},
    candidates=CandidateSummary(0.75, 120.0, [SourceContribution("own", 0.3, 0.4, 0.1)]),
)
RESULT = TrainingResult(
    evaluation=EVALUATION,
    alpha=0.05,
    discovery_alpha=0.2,
    alpha_curves=AlphaCurves({0.0: 0.4, 0.05: 0.41}, {0.05: 0.03}),
    trees=36,
    leaves=31,
    sizes=[Size(36, 31, 0.4)],
    score_drift=0.01,
    importance={"user_events": 3.0},
    plan=Plan(
        14,
        train=(Cut.at(END, 42), Cut.at(END, 56)),
        preranker=Cut.at(END, 70),
        validation=Cut.at(END, 28),
        test=Cut.at(END, 14),
        refit=(Cut.at(END, 14),),
        newest=Cut.at(END, 0),
    ),
    quality=Quality(9, 8, {"timestamp blank": 1}, 0, 0, PropertyQuality(0, 0, 0, 0, {}, {}, TreeProblems())),
)


def test_the_evaluation_as_json() -> None:
    assert EVALUATION.to_json() == {
        "table": [
            {"system": "hybrid", "group": "all", "users": 7, "ndcg@10": 0.5},
            {"system": "hybrid", "group": "cold", "users": 0, "ndcg@10": None},
        ],
        "new_items": [{"system": "hybrid", "group": "all", "users": 5, "ndcg@10": 0.25}],
        "differences": [{"system": "popularity", "mean": 0.1, "low": 0.05, "high": 0.15}],
        "half_lives": {"personal frequency, 60 days": 60.0},
        "candidates": {
            "recall": 0.75,
            "per_user": 120.0,
            "sources": [{"source": "own", "fraction": 0.3, "recall": 0.4, "recall_alone": 0.1}],
        },
    }


def test_the_run_as_json() -> None:
    content = json.loads(json.dumps(RESULT.to_json(), allow_nan=False))
    assert content.items() >= EVALUATION.to_json().items()
    assert content["alpha_curve"] == [
        {"alpha": 0.0, "ndcg": 0.4, "new_items_ndcg": None},
        {"alpha": 0.05, "ndcg": 0.41, "new_items_ndcg": 0.03},
    ]
    assert content["discovery_alpha"] == 0.2
    assert content["sizes"] == [{"trees": 36, "leaves": 31, "metric": 0.4}]
    assert content["plan"]["train"] == [42, 56]
    assert content["quality"]["events_quarantined"] == {"timestamp blank": 1}
    assert "up to the test window" in content["model"]
    chosen = {name: content[name] for name in ("alpha", "trees", "leaves", "score_drift", "importance")}
    assert chosen == {"alpha": 0.05, "trees": 36, "leaves": 31, "score_drift": 0.01, "importance": {"user_events": 3.0}}


def test_rows_and_leads_are_named() -> None:
    assert EVALUATION.row("hybrid", "cold").users == 0
    assert EVALUATION.lead_over("popularity").low == 0.05
    with pytest.raises(KeyError):
        EVALUATION.row("hybrid", "warm")
