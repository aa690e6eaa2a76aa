import gc
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from recsys import cli, console
from recsys.cluster import failures_in_one_line, read_blocks, run_tasks, start_ray
from recsys.errors import DataError
from recsys.registry.folder import FolderStore
from tests.support.refused import Refused, training_error
from tests.support.shop_data import Event, events, train_arguments, user_id, write_shop
from tests.support.trained import Trained, metrics_of, trained_shop

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def trained(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_shop(tmp_path_factory)


@pytest.fixture
def two_versions(trained: Trained, tmp_path: Path) -> Path:
    """A registry with the trained version, `next` beside it, and the trained one in production."""
    registry = tmp_path / "registry"
    shutil.copytree(trained.registry, registry)
    store = FolderStore(registry)

    def fill(folder: Path) -> None:
        shutil.copytree(trained.path, folder, dirs_exist_ok=True)
        edit_manifest(folder, version="next")

    store.publish(fill, "next")
    return registry


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    return lambda data, *settings: training_error(capfd, tmp_path / "registry", data, *settings)


def test_a_version_is_published_without_promotion(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    registry = tmp_path / "registry"
    arguments = train_arguments(trained.data, registry, "evaluation.seeds=1", "examples.discover=false")
    assert cli.main(["train", *arguments, "--promote", "never"]) == 0
    store = FolderStore(registry)
    [version] = store.versions()
    assert store.production() is None
    out = capfd.readouterr().out
    assert f"published {version.name}, not in production" in out
    assert f"models promote --registry {registry} {version.name}" in out
    assert cli.main(["models", "promote", version.name, "--registry", str(registry)]) == 0
    assert store.production() == version.name


@pytest.mark.usefixtures("ray_session")
def test_an_error_in_a_task_is_as_short(capfd: pytest.CaptureFixture[str]) -> None:
    def task() -> None:
        raise DataError("no rows")

    assert console.guarded(lambda: ray.get(run_tasks(task, "fail", [()]))) == 2
    assert capfd.readouterr().err == "error: no rows\n"


@pytest.mark.usefixtures("ray_session")
def test_further_tasks_that_fail_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Ray shows the traceback of each error that nobody reads, once the command has let go of its result."""

    def task() -> None:
        raise DataError("no rows")

    def command() -> None:
        results = run_tasks(task, "fail", [()] * 4)
        ray.wait(results, num_returns=len(results))
        ray.get(results[0])

    start_ray()
    assert console.guarded(command) == 2
    gc.collect()
    assert capfd.readouterr().err == "error: no rows\n"


@pytest.mark.usefixtures("ray_session")
def test_an_error_in_a_task_of_ray_data_is_as_short(capfd: pytest.CaptureFixture[str]) -> None:
    def parse(piece: int, number: int) -> Iterator[pa.Table]:
        yield pa.table({"piece": [piece]})
        raise DataError(f"piece {number} is broken")

    start_ray()
    assert console.guarded(lambda: ray.get(read_blocks([7], parse, "fail"))) == 2
    assert capfd.readouterr().err == "error: piece 0 is broken\n"


@pytest.mark.usefixtures("ray_session")
def test_a_worker_that_dies_is_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def command() -> None:
        with failures_in_one_line():
            ray.get(ray.remote(die).options(max_retries=0).remote())

    assert console.guarded(command) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("error: Ray: ")


@pytest.mark.usefixtures("ray_session")
def test_too_many_bad_rows(refused: Refused, tmp_path: Path) -> None:
    rows = events()
    bad = [Event(-1, *row[1:]) for row in rows[: len(rows) // 50]]
    line = refused(write_shop(tmp_path / "data", rows + bad))
    assert "data.max_bad_fraction = 1.00%" in line
    assert "not positive" in line
    quarantine = pq.read_table(tmp_path / "registry-work" / "quarantine.parquet")
    assert len(quarantine) == len(bad)


@pytest.mark.usefixtures("ray_session")
def test_a_ranker_that_cannot_be_trained(refused: Refused, trained: Trained) -> None:
    assert "num_leaves" in refused(trained.data, "ranker.num_leaves=1000000000")


@pytest.mark.usefixtures("ray_session")
def test_a_refit_that_drifts_is_published_with_a_warning(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = ("hybrid.max_drift=1e-9", "evaluation.seeds=1", "examples.discover=false")
    assert cli.main(["train", *train_arguments(trained.data, tmp_path / "registry", *settings)]) == 0
    out = " ".join(capfd.readouterr().out.split())
    assert "more than hybrid.max_drift = 1e-09" in out
    [warning] = metrics_of(tmp_path / "registry")["warnings"]
    assert warning in out
    report = json.loads((FolderStore(tmp_path / "registry").path() / "report.json").read_text())
    assert report["head"]["warnings"] == [warning]


def test_recommend_writes_the_documented_columns(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    users, out = tmp_path / "users.csv", tmp_path / "out.parquet"
    users.write_text(f"visitorid\n{user_id(4)}\n-1\n")
    arguments = ["recommend", "--registry", str(trained.registry), "--users", str(users), "--n", "3"]
    assert cli.main([*arguments, "--out", str(out)]) == 0
    assert f"2 users, recommendations in {out}" in capfd.readouterr().out
    table = pq.read_table(out)
    assert table.column_names == ["visitorid", "rank", "itemid", "score", "lgb_score", "mf_score"]
    assert table["visitorid"].to_pylist() == [user_id(4)] * 3 + [-1] * 3
    assert table["rank"].to_pylist() == [1, 2, 3] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--users", "absent.csv"], "absent.csv"),
        (["--users", "users.csv", "--n", "0"], "n is 0"),
        (["--users", "users.csv", "--version", "v0"], "no version v0"),
        (["--users", "users.csv", "--registry", "nowhere"], "nowhere"),
    ],
)
def test_recommend_refuses_bad_input(
    options: list[str],
    message: str,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("users.csv").write_text("visitorid\n1\n")
    arguments = ["recommend", "--registry", str(trained.registry), "--out", "out.parquet", *options]
    assert cli.main(arguments) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line
    assert not Path("out.parquet").exists()


def test_models_are_promoted_rolled_back_and_listed(
    trained: Trained, two_versions: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def models(*arguments: str) -> str:
        assert cli.main(["models", *arguments, "--registry", str(two_versions)]) == 0
        return capfd.readouterr().out

    def production(listing: str) -> list[str]:
        return [line.split()[1] for line in listing.splitlines() if line.strip().startswith("*")]

    listing = models("list")
    assert production(listing) == [trained.version]
    assert "next" in listing
    headline = metrics_of(trained.registry)["table"][0]["ndcg@10"]
    row = next(line for line in listing.splitlines() if trained.version in line)
    assert f"ndcg@10 {headline:.4f} " in row
    assert str(trained.data)[-10:] in listing.replace("\n", "").replace(" ", "")
    assert production(models("promote", "next")) == ["next"]
    listing = models("rollback")
    assert f"rolled back to {trained.version}" in listing
    assert production(listing) == [trained.version]


def test_models_errors(two_versions: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["promote", "v0", "--registry", str(two_versions)], "no version v0"),
        (["rollback", "--registry", str(two_versions)], "nothing to roll back to"),
        (["list", "--registry", "ftp://host"], "ftp:// is not supported"),
    ):
        assert cli.main(["models", *arguments]) == 2
        [line] = capfd.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert message in line


@pytest.mark.parametrize("changes", [{"version": "other"}, {"inference": {"memory": 3}}])
def test_an_unusable_version_is_not_put_into_production(
    changes: dict[str, object], trained: Trained, two_versions: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    edit_manifest(two_versions / "versions" / "next", **changes)
    assert cli.main(["models", "promote", "next", "--registry", str(two_versions)]) == 2
    assert next(iter(changes)) in capfd.readouterr().err
    store = FolderStore(two_versions)
    store.promote("next")
    store.promote(trained.version)
    assert cli.main(["models", "rollback", "--registry", str(two_versions)]) == 2
    assert store.production() == trained.version


@pytest.mark.usefixtures("ray_session")
def test_training_does_not_start_without_a_registry_to_write_to(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "registry").write_text("a file")
    assert cli.main(["train", *train_arguments(trained.data, tmp_path / "registry")]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert "cannot make a registry" in line
