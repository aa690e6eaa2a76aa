"""Shops of any age and size: each log ends in a version that serves, or in one clear line."""

import json
import shutil
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from recsys import cli
from recsys.config import load_config
from recsys.data.ingest import ingest
from recsys.data.sources import resolve
from recsys.inference.servable import open_servable
from recsys.registry.folder import FolderStore
from recsys.report.terminal import show_outlook
from recsys.schema import DAY, EVENT_TYPES
from recsys.training.outlook import look_ahead
from tests.support.random_shops import FAST, SHOPS, RandomShop, train_on
from tests.support.shop_data import START, events, write_shop
from tests.support.soak import SOAK, scaled
from tests.support.trained import trained_shop

pytestmark = pytest.mark.usefixtures("ray_session")


def busy(days: float, types: tuple[str, ...] = EVENT_TYPES, seed: int = 3) -> RandomShop:
    return RandomShop(seed, 300, 40, 5000, days, types, 0.4, catalog=True)


def train(data: Path, registry: Path, *options: str) -> FolderStore:
    """The registry after a training run with the windows and targets of the log."""
    settings = [part for setting in FAST for part in ("--set", setting)]
    assert cli.main(["train", "--data", str(data), "--registry", str(registry), *settings, *options]) == 0
    return FolderStore(registry)


def config_of(store: FolderStore) -> Any:
    return json.loads((store.path() / "config.json").read_text())


@pytest.mark.parametrize(
    ("days", "types", "windows", "targets"),
    [
        (7.5, EVENT_TYPES, 2, ["transaction"]),
        (30, ("view",), 7, ["view"]),
        (3 * 366, EVENT_TYPES, 28, ["transaction"]),
    ],
)
def test_a_log_of_a_week_or_of_years_trains_a_ranker(
    days: float,
    types: tuple[str, ...],
    windows: int,
    targets: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = train(busy(days, types).write(tmp_path / "data"), tmp_path / "registry", "--set", "examples.discover=false")
    config, opened = config_of(store), open_servable(store.path()).bundle
    assert (config["evaluation"]["test_days"], config["examples"]["horizon_days"]) == (windows, windows)
    assert config["targets"] == list(opened.manifest.targets) == targets
    assert (opened.manifest.not_learned, opened.manifest.test_days) == (None, windows)
    assert opened.ranker.n_trees > 0
    assert opened.tables.factors.known.any()
    out = capsys.readouterr().out
    assert f"windows   {windows} days each" in out
    assert f"targets   {targets[0]}: the " in out


def test_a_log_of_three_days_is_not_learned_but_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = train(busy(3).write(tmp_path / "data"), tmp_path / "registry")
    servable = open_servable(store.path())
    manifest, folder = servable.bundle.manifest, store.path()
    assert manifest.not_learned is not None
    assert "the log spans 3.0 days, expected 4 or more" in manifest.not_learned
    assert (manifest.backend, manifest.features, manifest.blend.alpha) == ("untrained", ("preranker_score",), 0)
    assert (manifest.counts.mf_users, manifest.counts.mf_items) == (0, 0)
    assert not list(folder.glob("ranker_discovery*"))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["not_learned"] == manifest.not_learned
    assert {row["system"] for row in metrics["table"]} >= {"hybrid", "popularity", "source covisitation"}
    assert not {row["system"] for row in metrics["table"]} & {"ranker alone", "factorization alone"}
    report = json.loads((folder / "report.json").read_text())
    assert report["head"]["not_learned"] == manifest.not_learned
    assert {name for name, numbers in report["sections"].items() if numbers} >= {"days", "funnel", "items"}
    out = " ".join(capsys.readouterr().out.split())
    assert f"not learned: {manifest.not_learned}" in out
    assert "now in production" in out


def test_a_log_of_a_day_has_no_metrics_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = RandomShop(1, 5, 4, 10, 0.5, ("view",), 0.3, catalog=False).write(tmp_path / "data")
    store = train(data, tmp_path / "registry", "--set", "evaluation.page=true")
    assert json.loads((store.path() / "metrics.json").read_text())["table"] == []
    assert "no metrics: no user can be tested" in capsys.readouterr().out
    page = (store.path() / "report.html").read_text()
    assert "Not learned:" in page
    assert "NDCG" not in page


def test_a_version_that_is_not_learned_replaces_a_learned_one_only_when_told(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, registry = trained_shop(tmp_path_factory), tmp_path / "registry"
    shutil.copytree(trained.registry, registry)
    rows = events()
    one_item = [row._replace(itemid=rows[0].itemid) for row in rows]
    data = write_shop(tmp_path / "data", one_item, [])
    store = train(data, registry)
    assert store.production() == trained.version
    [version] = {version.name for version in store.versions()} - {trained.version}
    out = capsys.readouterr().out
    assert f"published {version}, not in production: it is not learned, and {trained.version} in production is" in out
    assert f"models promote --registry {registry} {version}" in out
    assert cli.main(["models", "list", "--registry", str(registry)]) == 0
    assert "not learned" in capsys.readouterr().out
    store = train(data, registry, "--promote", "always")
    assert store.production() not in (trained.version, version)
    assert open_servable(store.path()).bundle.manifest.not_learned is not None


def test_the_outlook_is_what_a_training_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config(None, FAST)

    def outlook(shop: RandomShop, name: str) -> Any:
        source = resolve(str(shop.write(tmp_path / name)), tmp_path / "work")
        return look_ahead(ingest(source, config.data, START + 100 * DAY, tmp_path / "rejected.parquet"), config)

    month = outlook(busy(30), "month")
    assert month.too_little == ()
    assert (month.chosen.config.test_days, month.chosen.config.targets) == (7, ("transaction",))
    assert [window.name for window in month.windows] == ["test", "validation", "training"]
    assert [window.end - window.start for window in month.windows] == [7 * DAY] * 3
    assert min(window.users for window in month.windows) > 20
    show_outlook(month)
    out = capsys.readouterr().out
    assert "a ranker would be trained" in out
    assert "windows     7 days each, after 4 days of history: the longest that fits into 30.0 days" in out
    [problem] = outlook(busy(2), "days").too_little
    assert "the log spans 2.0 days" in problem
    alone = outlook(RandomShop(1, 1, 1, 50, 30, ("view",), 0, catalog=False), "alone")
    assert alone.too_little == ("no user has events on 2 or more items",)
    show_outlook(alone)
    assert "lacking     no user has events on 2 or more items" in capsys.readouterr().out


EXPLORE = hypothesis.settings(
    max_examples=scaled(6, 300),
    derandomize=not SOAK,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@EXPLORE
@hypothesis.given(shop=SHOPS, partitions=hypothesis.strategies.sampled_from([2, 7, 40]))
@pytest.mark.timeout(scaled(300, 3600))
def test_any_log_ends_in_a_version_whatever_the_partitions(
    shop: RandomShop, partitions: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    one, other = (train_on(shop, tmp_path_factory.mktemp("shop"), [f"data.partitions={n}"]) for n in (1, partitions))
    assert one == other
    assert "\n" not in one.error
    if not one.error:
        assert one.lists
