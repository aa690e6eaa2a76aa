"""Commands that end before they start anything."""

from pathlib import Path

import pytest

from recsys import cli
from recsys.registry.artifact import FORMAT
from recsys.registry.folder import FolderStore
from tests.support.refused import Refused, training_error
from tests.support.shop_data import write_shop
from tests.support.store_contract import fill


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    return lambda data, *settings: training_error(capfd, tmp_path / "registry", data, *settings)


def test_a_missing_folder(refused: Refused, tmp_path: Path) -> None:
    assert "absent" in refused(tmp_path / "absent")


def test_a_folder_without_events(refused: Refused, tmp_path: Path) -> None:
    assert "no events; expected events.csv" in refused(tmp_path)


def test_an_unknown_setting(refused: Refused, tmp_path: Path) -> None:
    line = refused(write_shop(tmp_path / "data"), "ranker.leaves=3")
    assert "ranker.leaves is unknown" in line
    assert "num_leaves" in line


@pytest.mark.parametrize("option", ["registry", "data"])
def test_relative_folders_are_refused_inside_a_job(
    option: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.chdir(tmp_path)
    folders = {"registry": str(tmp_path / "registry"), "data": str(tmp_path / "data")} | {option: "folder"}
    assert cli.main(["train", "--data", folders["data"], "--registry", folders["registry"]]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert f"--{option} folder" in line
    assert "absolute path or s3://" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("headline", ["[1, 2]", '{"ndcg": "high"}', '{"ndcg": 1' + "0" * 400 + "}", "[" * 100_000])
def test_a_junk_version_is_listed_as_broken(headline: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    junk = tmp_path / "versions" / "junk"
    junk.mkdir(parents=True)
    (junk / "manifest.json").write_text(f'{{"format": {FORMAT}, "files": {{}}, "headline": {headline}}}')
    assert cli.main(["models", "list", "--registry", str(tmp_path)]) == 0
    [line] = [line for line in capfd.readouterr().out.splitlines() if "junk" in line]
    assert "broken" in line or "not JSON" in line


def test_the_work_folder_of_a_job(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert cli.main(["train", "--registry", str(tmp_path / "registry"), "--work", "work"]) == 2
    assert "--work work" in capfd.readouterr().err


@pytest.mark.parametrize(
    "command", [["models", "list"], ["models", "promote", "v1"], ["models", "rollback"], ["report"], ["serve"]]
)
@pytest.mark.parametrize("name", ["absent", "."])
def test_a_mistyped_registry_is_an_error(
    command: list[str], name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    registry = tmp_path / name
    assert cli.main([*command, "--registry", str(registry)]) == 2
    out, err = capfd.readouterr()
    lacking = registry / "versions" if name == "." else registry
    assert (out, err) == ("", f"error: no registry at {registry}: there is no folder {lacking}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_pointer_is_told_with_the_versions_that_may_repair_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = FolderStore(tmp_path)
    store.publish(fill, "v1")
    (tmp_path / "production").write_bytes(b"")
    assert cli.main(["models", "list", "--registry", str(tmp_path)]) == 2
    out, err = capfd.readouterr()
    assert "v1" in out
    assert "*" not in out
    [line] = err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'production'} is broken, expected JSON with a version: ")
    assert line.endswith("; a promotion repairs it (models promote VERSION)")
    store.promote("v1")
    assert cli.main(["models", "list", "--registry", str(tmp_path)]) == 0
    assert "*" in capfd.readouterr().out


def test_resume_needs_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--resume"]) == 2
    assert "error: --resume continues a sweep: give its file with --tune" in capsys.readouterr().err
