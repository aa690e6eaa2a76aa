"""The five phases on the small shop, and the parts that need no shop."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys import cli
from recsys.studies.phases.table import BETTER, headline
from tests.support.shop_data import SETTINGS
from tests.support.trained import Trained, trained_shop

MOST_COLUMNS = 100
SWEEP = {"search": {"ranker.num_leaves": [3, 15]}, "searcher": "grid", "scheduler": "none"}


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
    assert table[0]["over_above"] == table[0]["over_first"] == {}
    assert [row["phase"][0] for row in table] == list("12345")
    hybrid, alone = (
        next(r for r in trained.metrics["table"] if (r["system"], r["group"]) == (system, "all"))
        for system in ("hybrid", "ranker alone")
    )
    for name in (*headline(10), "users", "ndcg@10_low", "ndcg@10_high", "precision@1", "recall@20"):
        assert table[4][name] == hybrid[name], name  # the same as a training run's, to the bit
        assert table[2][name] == alone[name], name
    assert table[4]["details"]["alpha"] == trained.metrics["alpha"]
    assert not table[4]["details"]["adopted"]  # the factorization alone is no better than where the sweep started
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
    assert max(len(line.rstrip()) for line in out.splitlines()) <= MOST_COLUMNS
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
    assert max(len(line.rstrip()) for line in out.splitlines()) <= MOST_COLUMNS


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
