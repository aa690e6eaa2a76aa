"""The five phases on the small shop, and the parts that need no shop."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from recsys import cli
from recsys.models.rankers.base import RankingData
from recsys.studies.phases.five import basic_features, rich_features
from recsys.studies.phases.folds import group_ndcg, rolling
from recsys.studies.phases.table import BETTER, LEVEL, WORSE, headline, verdict, with_improvements
from tests.support.features import FEATURES
from tests.support.shop_data import SETTINGS
from tests.support.trained import Trained, trained_shop

SWEEP = {"search": {"ranker.num_leaves": [3, 15]}, "searcher": "grid", "scheduler": "none"}


def test_feature_sets() -> None:
    """The first phase counts users' and items' events; the second knows all that is a number and no candidate's."""
    group = {feature.name: feature.group for feature in FEATURES}
    assert {group[name] for name in basic_features()} == {"user", "item"}
    assert set(basic_features()) < set(rich_features())
    assert {group[name] for name in rich_features()} >= {"user", "item", "user-item", "user-category"}
    assert {group[name] for name in rich_features()}.isdisjoint({"candidate"})
    assert {f.kind for f in FEATURES if f.name in rich_features()} == {"number"}


def test_rolling_cuts_learn_from_windows_that_have_ended() -> None:
    assert rolling([42, 56, 70], 14) == [(42, [56, 70]), (56, [70])]
    assert rolling([42, 49, 56], 14) == [(42, [56])]
    assert rolling([42], 14) == []


def test_group_ndcg_known_answer() -> None:
    """Hits first, hits second, none."""
    rows = RankingData(np.zeros((7, 1)), np.array([1, 0, 0, 1, 0, 0, 0]), np.array([2, 3, 2]))
    scores = np.array([2.0, 1, 5, 4, 3, 1, 1])
    assert group_ndcg(scores, rows, 10) == pytest.approx((1 + 1 / np.log2(3)) / 2)


def test_improvements_are_relative() -> None:
    rows = with_improvements([{"auc": 0.5, "x": 0.0}, {"auc": 0.6, "x": 1.0}, {"auc": 0.9, "x": None}], ["auc", "x"])
    assert rows[0]["over_above"] == rows[0]["over_first"] == {}
    assert rows[2]["over_above"] == {"auc": pytest.approx(0.5), "x": None}
    assert rows[2]["over_first"] == {"auc": pytest.approx(0.8), "x": None}
    assert [verdict(*gap) for gap in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))] == [BETTER, WORSE, LEVEL]


@pytest.fixture(scope="module")
def trained(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_shop(tmp_path_factory)


def phases(trained: Trained, folder: Path, *more: str) -> tuple[int, Path]:
    options = [option for setting in SETTINGS for option in ("--set", setting)]
    file = folder / "found.json"
    arguments = ["phases", "--data", str(trained.data), "--work", str(folder / "work"), *options, "--json", str(file)]
    return cli.main([*arguments, *more]), file


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(), parse_constant=pytest.fail)


def test_the_ranking_protocol(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(yaml.safe_dump(SWEEP | {"search": {"hybrid.alpha": [1.0]}}))
    code, file = phases(trained, tmp_path, "--tune", str(sweep))
    assert code == 0
    found, out = read(file), capsys.readouterr().out
    table = found["table"]
    assert [row["phase"][0] for row in table] == list("12345")
    hybrid, alone = (
        next(r for r in trained.metrics["table"] if (r["system"], r["group"]) == (system, "all"))
        for system in ("hybrid", "ranker alone")
    )
    for name in (*headline(10), "users", "ndcg@10_low", "ndcg@10_high", "precision@1", "recall@20"):
        assert table[4][name] == hybrid[name], name  # the same as a training run's, to the bit
        assert table[2][name] == alone[name], name
    assert table[4]["details"]["alpha"] == trained.metrics["alpha"]
    assert not table[4]["details"]["taken"]  # the factorization alone is no better than where the sweep started
    assert table[3]["details"]["alpha"] == 0.3
    assert table[1]["ndcg@10"] > table[0]["ndcg@10"]
    for above, row in pairwise(table):
        assert row["difference"]["mean"] == pytest.approx(row["ndcg@10"] - above["ndcg@10"])
        assert row["over_first"]["roc_auc"] == pytest.approx(row["roc_auc"] / table[0]["roc_auc"] - 1)
        assert (f"phase {row['phase']} does not improve ndcg@10" in out) == (row["verdict"] != BETTER)
    for row in table:
        assert 0 < row["decision"]["f1"] < 1
        assert 0 < row["diversity@10"] <= 1
        assert row["warm"]["users"] + row["cold"]["users"] == row["users"]
        assert row["phase"] in out
    chosen = {(point["normalization"], point["C"]): point["metric"] for point in table[1]["details"]["curve"]}
    assert len(chosen) == 12
    assert table[1]["validation"] == max(chosen.values())
    folds = found["cross_validation"]
    assert [name[0] for name in folds] == list("123")
    assert all(list(values) == ["42"] for values in folds.values())
    cold = {row["cold"]["ndcg@10"] for row in table[:3]}
    assert len(cold) > 0


def test_the_event_protocol_with_a_sweep(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(yaml.safe_dump(SWEEP))
    code, file = phases(trained, tmp_path, "--tune", str(sweep), "--protocol", "event", "--set",
                        "phases.train_events=1000", "--set", "ranker.max_trees=5",
                        "--set", "hybrid.tolerance=0")  # fmt: skip
    assert code == 0
    found, out = read(file), capsys.readouterr().out
    assert found["events"]["train"]["events"] <= 1000
    assert found["events"]["test"]["hits"] > 0
    table = found["table"]
    assert table[1]["roc_auc"] > table[0]["roc_auc"]
    assert table[4]["details"]["trials"] == 2
    assert table[4]["validation"] >= table[3]["validation"]
    assert "Not comparable with the ranking protocol" in " ".join(out.split())


def test_what_cannot_be_compared_is_refused(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(yaml.safe_dump(SWEEP | {"search": {"examples.negatives": [5, 10]}}))
    assert phases(trained, tmp_path, "--tune", str(sweep))[0] == 2
    assert "a sweep may search ranker.* and hybrid.alpha, found examples.negatives" in capsys.readouterr().err
    assert cli.main(["phases", "--json", str(tmp_path / "absent" / "found.json"), "--tune", "none"]) == 2
    assert "absent/found.json: there is no such folder" in capsys.readouterr().err
    every = "targets=[view, addtocart, transaction]"
    assert phases(trained, tmp_path, "--protocol", "event", "--tune", "none", "--set", every)[0] == 2
    assert "expected some, not all" in capsys.readouterr().err
