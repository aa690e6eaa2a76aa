import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray

from recsys import cli, console
from recsys.cluster import run_tasks
from recsys.errors import DataError
from recsys.registry.folder import FolderStore
from recsys.schema import DAY
from tests.support.refused import Refused, training_error
from tests.support.shop_data import END, Event, events, train_arguments, user_id, write_shop
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
def test_too_many_bad_rows(refused: Refused, tmp_path: Path) -> None:
    rows = events()
    bad = [Event(-1, *row[1:]) for row in rows[: len(rows) // 50]]
    line = refused(write_shop(tmp_path / "data", rows + bad))
    assert "data.max_bad_fraction = 1.00%" in line
    assert "not positive" in line
    quarantine = pq.read_table(tmp_path / "registry-work" / "quarantine.parquet")
    assert len(quarantine) == len(bad)


@pytest.mark.usefixtures("ray_session")
def test_a_log_that_is_too_short(refused: Refused, tmp_path: Path) -> None:
    rows = [row for row in events() if row.timestamp > END - 40 * DAY]
    assert "the log spans 39.9 days" in refused(write_shop(tmp_path / "data", rows))


@pytest.mark.usefixtures("ray_session")
def test_nobody_to_test_on(refused: Refused, tmp_path: Path) -> None:
    rows = [row for row in events() if row.event != "transaction"]
    refused(write_shop(tmp_path / "data", rows))


@pytest.mark.usefixtures("ray_session")
def test_a_shop_with_one_item(refused: Refused, tmp_path: Path) -> None:
    rows = events()
    one = [row._replace(itemid=rows[0].itemid) for row in rows]
    assert refused(write_shop(tmp_path / "data", one)).startswith("error: factorization: ")


@pytest.mark.usefixtures("ray_session")
def test_a_ranker_that_cannot_be_trained(refused: Refused, trained: Trained) -> None:
    assert "num_leaves" in refused(trained.data, "ranker.num_leaves=1000000000")


@pytest.mark.usefixtures("ray_session")
def test_a_refit_that_drifts_is_not_published(refused: Refused, trained: Trained) -> None:
    assert "hybrid.max_drift" in refused(trained.data, "hybrid.max_drift=1e-9", "evaluation.seeds=1")


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
