"""Sweep files: what they may say, and what is said of those that are wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.config import TrainConfig, changed
from recsys.errors import ConfigError
from recsys.training.sweep.config import SweepConfig, axes, load_sweep, start_point

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "tune_configs").glob("*.yaml"))
RATE = "ranker.learning_rate"


def load(folder: Path, content: Any, *settings: str) -> tuple[SweepConfig, TrainConfig]:
    file = folder / "sweep.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return load_sweep(file, None, list(settings))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_files_that_are_shipped_are_right(file: Path) -> None:
    sweep, base = load_sweep(file, None, [])
    assert start_point(sweep, base) is not None or sweep.searcher == "grid"


def test_the_shipped_files_are_those_promised() -> None:
    assert [file.stem for file in SHIPPED] == ["alpha", "full", "quick", "xgboost"]
    sweep, _ = load_sweep(SHIPPED[0], None, [])
    assert {0.2, 0.3, 0.4} < set(axes(sweep)["hybrid.alpha"])


def test_settings_of_the_command_line_win_over_those_of_the_file(tmp_path: Path) -> None:
    content = {"settings": {"ranker.threads": 1, "ranker.max_trees": 7}, "search": {RATE: [0.1, 0.2]}}
    _, base = load(tmp_path, content, "ranker.max_trees=9")
    assert (base.ranker.threads, base.ranker.max_trees) == (1, 9)


def test_the_start_is_the_config_where_it_lies_in_the_space(tmp_path: Path) -> None:
    sweep, base = load(tmp_path, {"search": {RATE: {"low": 0.05, "high": 0.2}, "ranker.num_leaves": [15, 31]}})
    assert start_point(sweep, base) == {RATE: 0.1, "ranker.num_leaves": 31}
    assert start_point(sweep, changed(base, {"ranker.num_leaves": 63})) is None
    assert start_point(sweep, changed(base, {RATE: 0.3})) is None


def test_a_grid_has_every_step(tmp_path: Path) -> None:
    search = {
        "hybrid.alpha": {"low": 0, "high": 0.3, "step": 0.1},
        "ranker.num_leaves": {"low": 7, "high": 31, "step": 8},
    }
    sweep, _ = load(tmp_path, {"search": search, "searcher": "grid"})
    found = axes(sweep)
    assert found["hybrid.alpha"] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert found["ranker.num_leaves"] == [7, 15, 23, 31]
    assert all(isinstance(leaves, int) for leaves in found["ranker.num_leaves"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"search": {"ranker.learning_rat": [0.1]}}, r"ranker\.learning_rat is no setting .*ranker\.learning_rate"),
        ({"search": {"evaluation.k": [5]}}, r"evaluation\.k is no setting that can be searched; .*ranker\.\*"),
        ({"search": {"examples.horizon_days": [7]}}, "no setting that can be searched"),
        ({"search": {"ranker.threads": [1, 2]}}, "no setting that can be searched"),
        ({"search": {"ranker.num_workers": [1, 2]}}, "no setting that can be searched"),
        ({"search": {}}, "search: .*at least 1"),
        ({}, "search: Field required"),
        ({"search": {RATE: []}}, "at least 1 item"),
        ({"search": {RATE: {"low": 0.2, "high": 0.1}}}, r"low 0\.2 is not below high 0\.1"),
        ({"search": {RATE: {"low": 0.0, "high": 0.1, "log": True}}}, "starts above 0"),
        ({"search": {RATE: {"low": 0.1, "high": 1.5}}}, r"ranker\.learning_rate: .*equal to 1, found 1\.5"),
        ({"search": {RATE: {"low": 0.1, "high": 0.2, "lag": True}}}, r"search\.ranker\.learning_rate\.range\.lag is"),
        ({"search": {RATE: {"low": 0.1, "high": 0.2, "log": True, "step": 0.1}}}, "exclude each other"),
        ({"search": {"ranker.num_leaves": {"low": 7.5, "high": 9}}}, "whole number"),
        ({"search": {"ranker.objective": {"low": 1, "high": 2}}}, "is not a number; expected a list"),
        ({"search": {"ranker.objective": ["lambdarank", "magic"]}}, "'lambdarank' or 'binary', found 'magic'"),
        ({"search": {"hybrid.alpha": [0.2, 1.2]}}, r"hybrid\.alpha: .*less than or equal to 1, found 1\.2"),
        ({"search": {"hybrid.alpha": {"low": -0.1, "high": 1}}}, r"hybrid\.alpha: .*greater than or equal to 0"),
        ({"search": {RATE: [0.1]}, "metric": "auc"}, r"metric 'auc': expected one of ndcg@K, recall@K"),
        ({"search": {RATE: [0.1]}, "metric": "ndcg@0"}, "K from 1"),
        ({"search": {RATE: [0.1]}, "trails": 3}, "setting trails is unknown; expected one of: .*trials"),
        ({"search": {RATE: [0.1]}, "trials": 0}, "trials: .*greater than or equal to 1"),
        ({"search": {RATE: [0.1]}, "searcher": "bohb"}, "searcher: .*'optuna', 'random' or 'grid'"),
        ({"search": {RATE: {"low": 0.1, "high": 0.2}}, "searcher": "grid"}, "a grid needs a step"),
        ({"search": {RATE: {"low": 0.1, "high": 1.0, "step": 1e-6}}, "searcher": "grid"}, r"grid has \d+ points"),
        ({"search": {RATE: {"low": 0.1, "high": 1.0, "step": 1e-300}}, "searcher": "grid"}, r"grid has \d+ points"),
        ({"search": {RATE: [0.1]}, "settings": {"ranker.nothing": 1}}, r"ranker\.nothing is unknown; expected one of"),
        ({"search": {RATE: [0.1]}, "settings": {"seed.x.y": 1, "seed": 2}}, "seed"),
        ("- a list", "expected sections of settings, found list"),
        ("search: [", "not YAML"),
        ({"search": "all"}, "search: .*dictionary"),
    ],
)  # fmt: skip
def test_a_bad_file_gives_one_clear_line(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, content)
    assert "sweep.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: No such file"):
        load_sweep(tmp_path / "nowhere.yaml", None, [])
