"""Sweeps on real Ray: trials, the version that is published, and processes and nodes that die."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from recsys import cli
from recsys.cluster import free_cpus
from recsys.data.ingest import ShopData
from recsys.registry.artifact import Artifact
from recsys.registry.folder import FolderStore
from recsys.report.sections.sweep import TABLE, collect, sweep_files
from recsys.training.context import Context
from recsys.training.preparation import RankerInputs, build_inputs
from recsys.training.sweep import search as tuning
from recsys.training.sweep.config import load_sweep
from recsys.training.sweep.result import SweepResult
from tests.support.faults import killer, waiting_once
from tests.support.processes import wait_until
from tests.support.shop_data import SETTINGS, train_arguments
from tests.support.trained import Trained, metrics_of, read_shop, trained_shop
from tests.support.world import small_config

ROOT = Path(__file__).resolve().parents[2]
SEARCH = {
    "ranker.learning_rate": {"low": 0.02, "high": 0.3, "log": True},
    "ranker.num_leaves": {"low": 3, "high": 15},
}
SWEEP = {
    "search": SEARCH,
    "trials": 5,
    "concurrency": 1,
    "report_every": 3,
    "grace_trees": 6,
    "beyond_chance": False,  # so that the best trial is published, whatever its lead
}
ALPHAS = {"searcher": "grid", "scheduler": "none", "beyond_chance": True}

pytestmark = pytest.mark.usefixtures("ray_session")


def sweep_file(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def tuned(data: Path, registry: Path, content: dict[str, Any], *more: str) -> int:
    registry.parent.mkdir(exist_ok=True, parents=True)
    file = sweep_file(registry.parent, content)
    return cli.main(["train", *train_arguments(data, registry), "--tune", str(file), *more])


def sweep_of(registry: Path) -> dict[str, Any]:
    return json.loads(Artifact.open(FolderStore(registry).path()).text("sweep.json"))


def timeless(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    return [trial | {"seconds": None, "ended": None} for trial in sweep["trials"]]


@pytest.fixture(scope="module")
def plain(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_shop(tmp_path_factory)


@pytest.fixture(scope="module")
def read(plain: Trained) -> tuple[ShopData, RankerInputs]:
    """Data and inputs at the start of a sweep over the shop of `plain`, for tests of the sweep alone."""
    shop = read_shop(plain.data)
    return shop, build_inputs(Context.create(shop, small_config(), work=""))


def searched(
    read: tuple[ShopData, RankerInputs], folder: Path, content: dict[str, Any], *settings: str
) -> tuple[dict[str, Any], SweepResult]:
    """A sweep without the training around it: sweep.json as the training writes it, and the result."""
    sweep, config = load_sweep(sweep_file(folder, content), None, [*SETTINGS, *settings])
    shop, inputs = read
    result = tuning.search(Context.create(shop, config, folder), inputs, sweep, resume=False)
    return json.loads(sweep_files(result, collect(result))[TABLE]), result


@pytest.fixture(scope="module")
def undisturbed(plain: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry of a sweep that nothing disturbed."""
    registry = tmp_path_factory.mktemp("sweep") / "registry"
    assert tuned(plain.data, registry, SWEEP) == 0
    return registry


def test_the_best_settings_are_published_with_their_sweep(undisturbed: Path, plain: Trained) -> None:
    found = sweep_of(undisturbed)
    trials, best = found["trials"], found["best"]
    assert len(trials) == SWEEP["trials"]
    assert best["metric"] == max(trial["metric"] for trial in trials if trial["status"] == "finished")
    assert trials[0]["settings"] == {"ranker.learning_rate": 0.1, "ranker.num_leaves": 7}
    assert set(found["importance"]) == set(SEARCH)
    folder = FolderStore(undisturbed).path()
    config = json.loads((folder / "config.json").read_text())
    for key, value in best["settings"].items():
        section, name = key.split(".")
        assert config[section][name] == value
    metrics = metrics_of(undisturbed)
    assert (metrics["alpha"], metrics["trees"]) == (best["alpha"], best["trees"])
    assert {point["alpha"]: point["ndcg"] for point in metrics["alpha_curve"]}[best["alpha"]] == best["metric"]
    assert (folder / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    curve = {point["alpha"]: point["ndcg"] for point in plain.metrics["alpha_curve"]}
    assert trials[0]["metric"] == curve[plain.metrics["alpha"]]


def test_a_trial_that_fails_is_recorded_and_the_sweep_goes_on(
    read: tuple[ShopData, RankerInputs], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = SWEEP | {"search": {"ranker.num_leaves": [200_000, 7]}, "searcher": "grid"}
    found, _ = searched(read, tmp_path, content)
    failed, finished = found["trials"]
    assert (failed["status"], failed["metric"]) == ("failed", None)
    assert "num_leaves" in failed["error"]
    assert finished["status"] == "finished"
    first, second = (line for line in capsys.readouterr().err.splitlines() if " of 2: " in line)
    assert "trial 1 of 2: failed: ranker: LightGBM refuses these settings" in first
    assert "; no trial has a metric yet, about " in first
    assert f"; best {finished['metric']:.4f}, about " in second


def test_nothing_is_published_where_every_trial_fails(
    plain: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = SWEEP | {"search": {"ranker.num_leaves": [200_000, 200_001]}, "searcher": "grid"}
    assert tuned(plain.data, tmp_path / "registry", content) == 2
    assert "error: all 2 trials of the sweep failed: ranker: LightGBM refuses" in capsys.readouterr().err
    assert FolderStore(tmp_path / "registry").versions() == []


def test_alpha_is_searched_without_another_fit(
    plain: Trained, read: tuple[ShopData, RankerInputs], tmp_path: Path
) -> None:
    """The trials differ in alpha alone, and agree with the curve of one ranker."""
    grid = [0.0, 0.2, 0.4]
    found, result = searched(read, tmp_path, SWEEP | ALPHAS | {"search": {"hybrid.alpha": grid}})
    curve = {point["alpha"]: point["ndcg"] for point in plain.metrics["alpha_curve"]}
    assert {trial["alpha"]: trial["metric"] for trial in found["trials"]} == {alpha: curve[alpha] for alpha in grid}
    assert len([trial for trial in found["trials"] if len(trial["history"]) > 1]) == 1
    # hybrid.grid has these points, so that none of them is better than where the sweep started, but for its tolerance
    assert not found["adopted"]
    assert found["lead"]["low"] <= 0
    assert result.context.config.hybrid.alpha is None
    assert result.outcome.startswith("no trial is adopted: the lead of trial")


def test_where_the_start_cannot_be_fitted_the_best_is_taken(
    read: tuple[ShopData, RankerInputs], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = SWEEP | ALPHAS | {"search": {"ranker.num_leaves": [7]}}
    found, result = searched(read, tmp_path, content, "ranker.num_leaves=200000")
    assert (found["adopted"], found["lead"]) == (True, None)
    assert result.context.config.ranker.num_leaves == 7
    assert "the start of the sweep failed: ranker: LightGBM" in capsys.readouterr().err


def test_a_lead_beyond_chance_is_taken(read: tuple[ShopData, RankerInputs], tmp_path: Path) -> None:
    content = SWEEP | ALPHAS | {"search": {"hybrid.alpha": [0.0]}}
    found, result = searched(read, tmp_path, content, "hybrid.alpha=1.0")
    assert found["adopted"]
    assert found["lead"]["low"] > 0
    assert result.context.config.hybrid.alpha == 0.0


def test_what_the_ranker_learns_from_can_be_searched(
    plain: Trained, read: tuple[ShopData, RankerInputs], tmp_path: Path
) -> None:
    search = {"examples.negatives": [4, 10], "factorization.factors": [4, 8]}
    content = SWEEP | {"search": search, "searcher": "grid", "scheduler": "none"}
    found, _ = searched(read, tmp_path, content)
    trials = found["trials"]
    assert [trial["status"] for trial in trials] == ["finished"] * 4
    assert len({trial["metric"] for trial in trials}) > 1
    start = next(t for t in trials if t["settings"] == {"examples.negatives": 10, "factorization.factors": 8})
    curve = {point["alpha"]: point["ndcg"] for point in plain.metrics["alpha_curve"]}
    assert start["metric"] == curve[plain.metrics["alpha"]]


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (SWEEP | {"concurrency": 64}, [], r"64 trials at a time .* 1 CPUs each .* the cluster has 2"),
        (SWEEP, ["--set", "ranker.threads=64"], r"a trial needs 64 CPUs .* the largest node has 2"),
        (SWEEP | {"search": {"examples.negatives": [1, 2]}}, ["--set", "ranker.threads=2"], "and one to prepare data"),
    ],
)
def test_what_the_cluster_lacks_is_said_at_once(
    content: dict[str, Any], more: list[str], message: str, plain: Trained, tmp_path: Path, capsys: Any
) -> None:
    assert tuned(plain.data, tmp_path / "registry", content, *more) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert re.search(message, line)


def test_a_cluster_that_is_busy_ends_the_sweep_with_a_reason(
    plain: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    @ray.remote(num_cpus=2)
    class Holder:
        def ready(self) -> None: ...

    holders: list[Any] = []
    search = tuning.search

    def held(*arguments: Any, **settings: Any) -> Any:
        holders.append(Holder.remote())
        ray.get(holders[0].ready.remote())
        wait_until(lambda: free_cpus() == 0)  # as the message counts them
        return search(*arguments, **settings)

    monkeypatch.setattr("recsys.jobs.train.search", held)
    monkeypatch.setattr(tuning, "START_SECONDS", 2.0)
    assert tuned(plain.data, tmp_path / "registry", SWEEP) == 2
    ray.kill(holders[0])
    assert "error: no trial could start within 2 s: each needs 1 CPUs, 0 of the cluster" in capsys.readouterr().err


@pytest.mark.soak(10)
def test_a_killed_trial_starts_again(
    undisturbed: Path, plain: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "trial.pid"
    fragile = waiting_once(tuning.run_trial, marker)

    def run_trial(point: Any, job: Any) -> None:  # Tune looks at the names of the arguments
        fragile(point, job)

    monkeypatch.setattr(tuning, "run_trial", run_trial)
    with killer([marker]) as killed:
        assert tuned(plain.data, tmp_path / "registry", SWEEP) == 0
    assert len(killed) == 1
    assert timeless(sweep_of(tmp_path / "registry")) == timeless(sweep_of(undisturbed))
    assert metrics_of(tmp_path / "registry") == metrics_of(undisturbed)


@pytest.mark.soak(10)
def test_a_killed_sweep_is_taken_up_where_it_stopped(undisturbed: Path, plain: Trained, tmp_path: Path) -> None:
    """The cluster outlives the driver, as it does a job's."""
    registry = tmp_path / "registry"
    file = sweep_file(tmp_path, SWEEP)
    command = [sys.executable, "train_job.py", *train_arguments(plain.data, registry), "--tune", str(file)]
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    log = tmp_path / "log.txt"
    with log.open("w") as stream:
        first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream)
        wait_until(lambda: "trial 2 of 5" in log.read_text() or first.poll() is not None, 120)
        os.kill(first.pid, signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL, log.read_text()
    assert FolderStore(registry).versions() == []
    command += ["--resume"]
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert again.returncode == 0, again.stderr
    assert "resuming the sweep in" in again.stderr
    assert timeless(sweep_of(registry)) == timeless(sweep_of(undisturbed))
    assert metrics_of(registry) == metrics_of(undisturbed)


@pytest.mark.soak(10)
def test_nodes_that_are_taken_away_change_nothing(plain: Trained, tmp_path: Path) -> None:
    """Three nodes; one goes while examples are built, another one during the sweep."""
    search = {"ranker.num_leaves": [3, 7, 11]}
    file = sweep_file(tmp_path, SWEEP | {"search": search, "searcher": "grid", "scheduler": "none", "concurrency": 2})
    arguments = ["--tune", str(file)]
    assert cli.main(["train", *train_arguments(plain.data, tmp_path / "calm"), *arguments]) == 0
    command = [sys.executable, "-m", "tests.support.three_nodes", str(tmp_path)]
    command += [*train_arguments(plain.data, tmp_path / "registry"), *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stderr[-5000:]
    assert (tmp_path / "features.gone").exists()
    assert (tmp_path / "sweep.gone").exists()
    assert timeless(sweep_of(tmp_path / "registry")) == timeless(sweep_of(tmp_path / "calm"))
    assert metrics_of(tmp_path / "registry") == metrics_of(tmp_path / "calm")
