"""Commands that end before they start anything."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys import cli
from recsys.inference.probe import check_here
from recsys.registry.artifact import FORMAT
from recsys.registry.folder import FolderStore
from tests.support.bundles import publish, small_bundle
from tests.support.refused import Refused, training_error
from tests.support.shop_data import write_shop
from tests.support.store_contract import fill


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    return lambda data, *settings: training_error(capfd, tmp_path / "registry", data, *settings)


def test_a_missing_folder(refused: Refused, tmp_path: Path) -> None:
    assert "absent" in refused(tmp_path / "absent")


def test_a_folder_without_events(refused: Refused, tmp_path: Path) -> None:
    assert "has no tables; expected a folder, a file or a pattern" in refused(tmp_path)


@pytest.mark.parametrize("option", ["--data", "--registry", "--config", "--work", "--tune"])
def test_a_path_that_is_not_utf8(option: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/sh\xffp")
    assert cli.main(["train", "--data", str(write_shop(tmp_path / "data")), option, path]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line == f"error: argument {tmp_path}/sh\\xffp is not UTF-8 text; expected a name in UTF-8"


def test_a_file_whose_name_is_not_utf8(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "events").mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/data/events/\xff.csv")).write_text("timestamp,visitorid\n")
    registry = tmp_path / "registry"
    assert cli.main(["train", "--data", str(tmp_path / "data"), "--registry", str(registry)]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "data/events/\\xff.csv" in line


def test_an_unknown_setting(refused: Refused, tmp_path: Path) -> None:
    line = refused(write_shop(tmp_path / "data"), "ranker.leaves=3")
    assert "ranker.leaves is unknown" in line
    assert "num_leaves" in line


@pytest.mark.parametrize("command", ["train", "phases"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--data synthetic:abc", "data source 'synthetic:abc': 'abc' is not a number"),
        ("--data half", "events.csv: no column for the item among timestamp, visitorid, event; set data."),
        ("--data half", "data.events.columns.item, or run: recsys inspect --data half"),
        ("--data properties", "item_properties.csv: column 'value' is missing"),
        ("--data tree", "category_tree.csv: column 'parentid' is missing"),
        ("--data empty", "events.csv: the file is empty"),
        ("--data good --work users.csv", "--work users.csv: "),
        ("--data good --work users.csv/work", "users.csv is not a folder"),
        ("--data good --tune absent.yaml", "absent.yaml"),
        ("--data good --set ranker.backend=unknown", "unknown"),
    ],
)
def test_data_and_options_are_checked_before_ray_starts(
    command: str,
    options: str,
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A test of this folder cannot start Ray."""
    monkeypatch.chdir(tmp_path)
    Path("users.csv").write_text("visitorid\n")
    files = {
        "good/events.csv": "timestamp,visitorid,event,itemid,transactionid\n",
        "half/events.csv": "timestamp,visitorid,event\n",
        "properties/item_properties.csv": "timestamp,itemid,property\n",
        "tree/category_tree.csv": "categoryid\n",
        "empty/events.csv": "",
    }
    for name, text in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    for folder in ("properties", "tree"):
        Path(folder, "events.csv").write_text(files["good/events.csv"])
    assert cli.main([command, *options.split()]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_phases_refuse_a_sweep_of_the_data_and_a_folder_for_numbers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_shop(Path("data"))
    Path("sweep.yaml").write_text("search: {examples.negatives: [4, 10]}")
    for options, message in (
        ("--tune sweep.yaml", "a sweep may search ranker.* and hybrid.alpha, found examples.negatives"),
        ("--json data", "--json data: it is a folder; expected a file to write"),
        ("--json absent/numbers.json", "--json absent/numbers.json: there is no such folder"),
    ):
        assert cli.main(["phases", "--data", "data", *options.split()]) == 2
        assert message in capfd.readouterr().err


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
    row, reason = [line for line in capfd.readouterr().out.splitlines() if "junk" in line]
    assert row.split() == ["junk", "broken", "-", "-", "-", "-"]
    assert "manifest" in reason


def listed(registry: Path, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of the list of versions."""
    assert cli.main(["models", "list", "--registry", str(registry)]) == 0
    return [line.rstrip() for line in capfd.readouterr().out.splitlines()]


def publish_with(store: FolderStore, name: str, **entries: Any) -> None:
    """Publish the small shop with these entries of its manifest."""
    bundle = small_bundle()
    publish(store, replace(bundle, manifest=bundle.manifest.model_copy(update=entries)), name, promote=False)


def test_a_metric_is_listed_beside_what_it_was_measured_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = FolderStore(tmp_path)
    first, second, third = (f"v2026112{number}-083501-3fa9c1" for number in range(3))
    publish_with(store, first, data="completejourney", test_days=28)
    targets = ("view", "addtocart", "transaction")
    publish_with(store, second, data="s3://bucket/a/long/prefix/of/a/shop", test_days=7, targets=targets)
    publish_with(store, third, headline={})  # as of a version from before the further entries
    lines = listed(tmp_path, capfd)
    assert max(map(len, lines)) <= 120
    events = "2015-05-01 to 2015-07-30"
    assert row_of(first, lines) == f"{first} ndcg@10 0.5000 transaction 28 days {events} completejourney"
    assert row_of(second, lines).startswith(f"{second} ndcg@10 0.5000 view, ")
    assert f"7 days {events} s3://" in row_of(second, lines)
    assert row_of(third, lines) == f"{third} - transaction - {events} -"


def test_a_long_name_is_listed_in_full(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    publish_with(FolderStore(tmp_path), "a" * 100)
    lines = listed(tmp_path, capfd)
    assert max(map(len, lines)) <= 120
    assert sum(line.split()[0].count("a") for line in lines if line.strip().startswith("a")) == 100


def row_of(name: str, lines: list[str]) -> str:
    """The line that begins with a name, with single spaces."""
    return next(" ".join(line.split()) for line in lines if line.strip().startswith(name))


def test_the_work_folder_of_a_job(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert cli.main(["train", "--registry", str(tmp_path / "registry"), "--work", "work"]) == 2
    assert "--work work" in capfd.readouterr().err


@pytest.mark.parametrize(
    "command", [["models", "list"], ["models", "promote", "v1"], ["models", "rollback"], ["report"]]
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


@pytest.mark.parametrize(
    ("users", "options", "message"),
    [
        (None, "--out out.csv", "users.csv: No such file"),
        ("user\n1\n", "--out out.csv", "no column visitorid; found user"),
        ("visitorid\n7\nx2\n", "--out out.csv", "row 3: visitorid is 'x2'; expected an id of type int64"),
        ("visitorid\n7\n", "--out out.txt", "its ending '.txt' is none of .csv, .parquet"),
        ("visitorid\n7\n", "--out users.csv", "is the file that is read"),
        ("visitorid\n7\n", "--out out.csv --n 0", "n is 0; expected 1 to 1000"),
        ("visitorid\n7\n", "--out out.csv --repeat-share 2", "(--repeat-share) is 2; expected 0 to 1"),
        ("visitorid\n7\n", "--out out.csv --version v9", "no version v9"),
    ],
)
def test_recommend_refuses_bad_input_before_ray_starts(
    users: str | None,
    options: str,
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A test of this folder cannot start Ray."""
    monkeypatch.chdir(tmp_path)
    store = FolderStore(tmp_path / "registry")
    publish(store, small_bundle(), "v1", promote=False)
    store.promote("v1", check_here)  # whose fingerprint spares a test-opening in a process
    if users is not None:
        Path("users.csv").write_text(users)
    assert cli.main(["recommend", "--registry", "registry", "--users", "users.csv", *options.split()]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert message in line
    assert not Path("out.csv").exists()


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1", "a" * 80, "1.2.3"])
def test_serve_refuses_an_address_of_another_machine(host: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--host", host]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: --host {host} --port 8000: nothing can listen there: ")


def test_resume_needs_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--resume"]) == 2
    assert "error: --resume continues a sweep: give its file with --tune" in capsys.readouterr().err
