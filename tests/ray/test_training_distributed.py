"""The ranker trained by several workers on real Ray: as good as one, whatever dies, and never waiting without end."""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from sklearn.metrics import ndcg_score
from xgboost.callback import TrainingCallback

from recsys import cli
from recsys.cluster import free_cpus
from recsys.errors import ConfigError, ModelError
from recsys.inference.recommender import Recommender
from recsys.inference.servable import read_version
from recsys.models.rankers import lightgbm as lightgbm_ranker
from recsys.models.rankers import xgboost as xgboost_ranker
from recsys.models.rankers.registry import RANKERS, Ranker, RankerConfig
from recsys.models.rankers.rows import TrainingSet
from recsys.registry.folder import FolderStore
from recsys.storage.filesystem import file_at
from recsys.training.distributed import launch as workers
from recsys.training.distributed import xgboost as xgboost_workers
from recsys.training.distributed.launch import fit_ranker
from tests.support.faults import killer
from tests.support.planted import NAMES, planted
from tests.support.processes import wait_until
from tests.support.shop_data import train_arguments, write_shop
from tests.support.trained import metrics_of

TREE = 7
"""The tree after which a worker is killed."""


def config(backend: str = "lightgbm", **settings: Any) -> RankerConfig:
    # Rows drawn anew for each tree leave hardly any equal scores, which the libraries' NDCG count differently.
    small = {"num_workers": 2, "threads": 1, "min_child_samples": 20, "max_trees": 40, "bagging_fraction": 0.7}
    return RankerConfig(backend=backend, **(small | settings))


def data() -> TrainingSet:
    return TrainingSet([planted(100), planted(200, seed=5)], planted(100, seed=1), NAMES, ["category"])


def quality(ranker: Ranker) -> float:
    """NDCG@10 on rows that no training saw."""
    unseen = planted(1000, seed=9)
    return float(ndcg_score(unseen.labels.reshape(-1, 20), ranker.predict(unseen.features).reshape(-1, 20), k=10))


@pytest.fixture(scope="module", params=RANKERS.names)
def undisturbed(
    request: pytest.FixtureRequest, ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Ranker, list[tuple[int, float, np.ndarray]]]:
    """A backend, the ranker of two workers, and what they reported."""
    seen: list[tuple[int, float, np.ndarray]] = []
    work = tmp_path_factory.mktemp("undisturbed") / "work"
    ranker = fit_ranker(data(), config(request.param), watch=lambda *a: seen.append((*a[:2], a[2]())), work=work)
    assert not list(work.iterdir())
    return request.param, ranker, seen


def test_two_workers_are_as_good_as_one(undisturbed: Any, tmp_path: Path) -> None:
    backend, two, seen = undisturbed
    one = fit_ranker(data(), config(backend, num_workers=1), work=tmp_path)
    assert quality(two) == pytest.approx(quality(one), rel=0.01)
    assert two.feature_names == one.feature_names
    [(n_trees, ndcg, scores)] = seen
    assert n_trees == two.n_trees < 40
    valid = data().valid
    np.testing.assert_array_equal(scores, two.predict(valid.features))
    labels = valid.labels.reshape(-1, 20)
    with_hit = labels.any(axis=1)  # the other query groups have no NDCG
    assert 0 < with_hit.sum() < len(labels)
    assert ndcg == pytest.approx(ndcg_score(labels[with_hit], scores.reshape(-1, 20)[with_hit], k=10))
    assert "machines" not in two.to_text()


def wait_to_be_killed(marker: Path) -> None:
    """The first worker that comes by writes down its pid and waits."""
    try:
        with marker.open("x") as file:
            file.write(f"{os.getpid()}\n")
    except FileExistsError:
        return
    Event().wait(60)
    raise RuntimeError("nobody killed this worker")


class DeadlyForLightGBM:
    order = 30

    def __init__(self, inner: Callable[..., Any], marker: Path) -> None:
        self.inner, self.marker = inner, marker

    def __call__(self, env: Any) -> None:
        if env.iteration + 1 == TREE:
            wait_to_be_killed(self.marker)
        self.inner(env)


class DeadlyForXGBoost(TrainingCallback):
    def __init__(self, inner: TrainingCallback, marker: Path) -> None:
        self.inner, self.marker = inner, marker

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        if epoch + 1 == TREE:
            wait_to_be_killed(self.marker)
        return self.inner.after_iteration(model, epoch, evals_log)


@pytest.mark.soak(10)
def test_a_worker_killed_while_trees_grow_changes_little(
    undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, whole, _ = undisturbed
    module, deadly = {
        "lightgbm": (lightgbm_ranker, DeadlyForLightGBM),
        "xgboost": (xgboost_ranker, DeadlyForXGBoost),
    }[backend]
    marker, stopping = tmp_path / "pid", module.stopping
    monkeypatch.setattr(module, "stopping", lambda *given: deadly(stopping(*given), marker))
    with killer([marker]) as killed:
        ranker = fit_ranker(data(), config(backend), work=tmp_path / "work")
    assert len(killed) == 1
    assert quality(ranker) == pytest.approx(quality(whole), rel=0.01)
    if backend == "lightgbm":  # starts from the first tree
        assert ranker.to_text() == whole.to_text()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("backend", RANKERS.names)
@pytest.mark.parametrize(
    ("asked", "message"), [({"num_workers": 64}, "64 CPUs"), ({"threads": 4}, "8 CPUs, 4 for each worker")]
)
def test_what_the_cluster_does_not_have_is_an_error_at_once(
    backend: str, asked: dict[str, int], message: str, tmp_path: Path
) -> None:
    start = monotonic()
    with pytest.raises(ConfigError, match=f"need {message}.*the cluster has 2 on 1 nodes"):
        fit_ranker(data(), config(backend, **asked), work=tmp_path)
    assert monotonic() - start < workers.WAIT_SECONDS / 2


@pytest.mark.usefixtures("ray_session")
def test_a_run_that_asks_too_much_ends_before_it_reads_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_shop(tmp_path / "data")
    assert cli.main(["train", *train_arguments(folder, tmp_path / "registry", "ranker.num_workers=64")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "ranker.num_workers=64 and ranker.threads=1 need 64 CPUs" in line


@pytest.mark.usefixtures("ray_session")
def test_cpus_that_others_use_are_waited_for_and_then_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "WAIT_SECONDS", 1.0)
    # Ray gives CPUs back some time after their workers have ended, and the message counts what is free.
    wait_until(lambda: free_cpus() == 2)
    busy = ray.remote(Event).options(num_cpus=1).remote()
    wait_until(lambda: free_cpus() == 1)
    try:
        with pytest.raises(ConfigError, match=r"need 2 CPUs.*the cluster has 2 .*of which 1 were free after 1 s"):
            fit_ranker(data(), config(), work=tmp_path)
    finally:
        ray.kill(busy)


def wait_without_end(_: None) -> tuple[str, float]:
    Event().wait(60)
    raise RuntimeError("nobody ended this")


@pytest.mark.usefixtures("ray_session")
def test_workers_whose_nodes_are_lost_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(workers, "node_cpus", lambda: [1.0])
    with pytest.raises(ConfigError, match=r"nodes were lost.*the cluster has 1 on 1 nodes"):
        workers.run_apart(wait_without_end, None, config())


def fail(_: None) -> tuple[str, float]:
    raise FileNotFoundError("/somewhere/train-0.parquet")


@pytest.mark.usefixtures("ray_session")
def test_what_went_wrong_in_a_worker_is_told_in_one_line() -> None:
    with pytest.raises(ModelError, match=r"2 workers could not train it: .*train-0\.parquet") as caught:
        workers.run_apart(fail, None, config())
    assert "\n" not in str(caught.value)


def test_shards_may_lie_on_s3(bucket: str) -> None:
    rows, settings = data(), config("xgboost")
    folder = file_at(f"{bucket}/work")
    job = xgboost_workers.prepare(rows, settings, None, folder)
    shards = [pq.read_table(path, filesystem=job.folder.system) for path in job.shards]
    assert [len(shard) for shard in shards] == [3000, 3000]
    assert shards[0].column_names == [*NAMES, "label", "qid"]
    assert shards[1]["qid"].to_pylist() == np.repeat(np.arange(150), 20).tolist()
    signal = pa.chunked_array([chunk for shard in shards for chunk in shard["signal"].chunks])
    assert (signal.to_numpy() == np.concatenate([part.features[:, 0] for part in rows.parts])).all()
    assert shards[0]["category"].to_numpy().min() != -1


@pytest.mark.usefixtures("ray_session")
def test_a_run_with_xgboost_publishes_a_version_that_recommends(tmp_path: Path) -> None:
    folder, registry = write_shop(tmp_path / "data"), tmp_path / "registry"
    assert cli.main(["train", *train_arguments(folder, registry, "ranker.backend=xgboost")]) == 0
    opened = read_version(FolderStore(registry).path())
    assert opened.manifest.backend == "xgboost"
    assert opened.ranker.to_text().startswith("{")
    made = Recommender.from_bundle(opened)(opened.snapshot.histories, opened.manifest.live_watermark, 5)
    assert len(made.items) == 5 * len(opened.snapshot.users)
    assert metrics_of(registry)["trees"] == opened.ranker.n_trees
