"""The commands on versions that show, list and remove: what they print."""

from dataclasses import replace
from pathlib import Path

import pytest

from recsys import cli, console
from recsys.registry.decisions import Comparison, Decision, GateResult, record
from recsys.registry.folder import FolderStore
from tests.support.bundles import publish, small_bundle
from tests.support.shop_data import END, START

FIGURES = Comparison(
    metric="ndcg@10",
    users=812,
    start=START,
    end=END,
    targets=("transaction",),
    opponent="version",
    why="it has not seen the newest 14 days",
    challenger=0.32,
    production=0.31,
    difference=0.01,
    low=-0.004,
    high=0.02,
    margin=0.02,
    bound=-0.0062,
)
DECISION = Decision(
    outcome="promoted",
    reason="not worse",
    version="v2",
    production="v1",
    decided="2026-11-29T16:00:00+00:00",
    data="shop",
    end=END,
    gates=(
        GateResult(gate="events", passed=True, figure="97% of the usual"),
        GateResult(gate="drift", passed=False, allowed=True, figure="item_popularity has drifted by 0.83"),
    ),
    figures=FIGURES,
)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Versions v1 to v3, the last one in production, and a decision about v2."""
    store, bundle = FolderStore(tmp_path / "registry"), small_bundle()
    for number in (1, 2, 3):
        manifest = bundle.manifest.model_copy(update={"fingerprint": str(number) * 64, "data": "shop"})
        publish(store, replace(bundle, manifest=manifest), f"v{number}")
    record(store, DECISION)
    return tmp_path / "registry"


def printed(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capfd.readouterr()
    assert cli.main(["models", *map(str, arguments)]) == 0
    return capfd.readouterr().out


def test_a_version_is_shown_with_the_decision(registry: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = printed(capfd, "show", "v2", "--registry", registry)
    for text in (
        "2015-05-01 to 2015-07-30 (UTC)",
        "ndcg@10 all: 0.5000",
        "decision        promoted: not worse",
        "2015-05-01 to 2015-07-30, 812 users, transaction",
        "version: it has not seen the newest 14 days",
        "challenger 0.3200, production 0.3100",
        "+0.0100 (-0.0040 to +0.0200), bound -0.0062",
        "2.0% of production's metric",
        "gate events     passed: 97% of the usual",
        "gate drift      allowed: item_popularity has drifted by 0.83",
    ):
        assert text in out
    assert "in production" not in out
    assert "v3, in production" in printed(capfd, "show", "v3", "--registry", registry)


def test_a_version_without_a_decision(registry: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "decision        none: no `recsys retrain` published it" in printed(
        capfd, "show", "v1", "--registry", registry
    )


def test_an_unknown_version(registry: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "show", "v9", "--registry", str(registry)]) == console.BAD_INPUT
    assert "no version v9" in capfd.readouterr().err


def test_the_list_has_the_outcomes(registry: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = printed(capfd, "list", "--registry", registry).splitlines()
    assert "retrain" in lines[0]
    [line] = [line for line in lines if line.split()[0] == "v2"]
    assert line.split()[1] == "promoted"


def test_pruning_says_what_it_keeps_and_why(registry: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = printed(capfd, "prune", "--keep", "1", "--dry-run", "--registry", registry)
    assert "would go v1" in out
    assert "kept     v2  a rollback puts it back" in out
    assert "kept     v3  in production" in out
    assert len(FolderStore(registry).versions()) == 3
    assert "removed  v1" in printed(capfd, "prune", "--keep", "1", "--registry", registry)
    assert [version.name for version in FolderStore(registry).versions()] == ["v2", "v3"]
    assert "nothing to remove" in printed(capfd, "prune", "--keep", "1", "--registry", registry)


def test_at_least_one_version_is_kept(registry: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "prune", "--keep", "0", "--registry", str(registry)]) == console.BAD_INPUT
    assert "--keep" in capfd.readouterr().err
