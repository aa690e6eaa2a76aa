"""Small shops with faults that people report of such systems; and partitions, which must not show in any result."""

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys import cli
from recsys.registry import bundle
from recsys.registry.bundle import Bundle
from recsys.registry.folder import FolderStore
from tests.support.trained import metrics_of

pytestmark = pytest.mark.usefixtures("ray_session")

SETTINGS = (
    "factorization.factors=8",
    "factorization.confidence=0.03",
    "factorization.iterations=2",
    "inference.candidates.size=20",
    "ranker.max_trees=10",
    "ranker.num_leaves=7",
    "ranker.min_child_samples=10",
    "ranker.threads=1",
    "examples.cuts=2",
    "examples.negatives=10",
    "examples.max_users=300",
    "evaluation.bootstrap_samples=100",
    "evaluation.seeds=1",
    "evaluation.max_users=300",
    "evaluation.page=false",
)


def trained(data: Path | str, registry: Path, *settings: str, work: Path | None = None) -> dict[str, Any]:
    """metrics.json of a version that is trained on the data in seconds."""
    options = [option for setting in (*SETTINGS, *settings) for option in ("--set", setting)]
    place = [] if work is None else ["--work", str(work)]
    assert cli.main(["train", "--data", str(data), "--registry", str(registry), *options, *place]) == 0
    return metrics_of(registry)


def opened(registry: Path) -> Bundle:
    return bundle.read(FolderStore(registry).path())


@pytest.fixture(scope="module")
def cases(shared: Path) -> Path:
    return shared / "cases"


@pytest.mark.parametrize("tree", [None, "categoryid,parentid\n"])
def test_the_category_tree_may_be_left_out(cases: Path, tree: str | None, tmp_path: Path) -> None:
    """The category ids are `101.0`, so they may be texts; a tree without rows has no type of its own."""
    shutil.copytree(cases / "no_tree", tmp_path / "data")
    if tree is not None:
        (tmp_path / "data" / "category_tree.csv").write_text(tree)
    trained(tmp_path / "data", tmp_path / "registry")
    version = opened(tmp_path / "registry")
    assert len(version.categories) == 8
    assert (version.tables.statistics.category >= 0).all()


def test_partitions_of_few_buyers_do_not_show(cases: Path, tmp_path: Path) -> None:
    """Most of a hundred partitions have no buyer in a window, and some may have no user."""
    one, many = (trained(cases / "few_buyers", tmp_path / f"registry-{n}", f"data.partitions={n}") for n in (1, 100))
    assert one == many
    rankers = [(FolderStore(tmp_path / f"registry-{n}").path() / "ranker.txt").read_bytes() for n in (1, 100)]
    assert rankers[0] == rankers[1]


def test_xgboost_trains_where_users_have_no_hit_in_any_number_of_partitions(tmp_path: Path) -> None:
    one, seven = (
        trained(
            "synthetic:0.02",
            tmp_path / f"registry-{n}",
            "ranker.backend=xgboost",
            f"data.partitions={n}",
            work=tmp_path / "work",
        )
        for n in (1, 7)
    )
    assert one == seven


def test_the_newest_state_of_the_catalog_is_published(cases: Path, tmp_path: Path) -> None:
    """The catalog is dated after the last event."""
    folder = cases / "catalog_later"
    trained(folder, tmp_path / "registry")
    version = opened(tmp_path / "registry")
    with gzip.open(folder / "item_properties.csv.gz") as file:
        properties = pl.read_csv(file.read())
    sold_out = properties.filter((pl.col("property") == "available") & (pl.col("value") == 0))["itemid"]
    assert 0 < len(sold_out) < len(version.items)
    codes = version.items.encode(sold_out.to_arrow())
    assert (np.flatnonzero(~version.tables.statistics.available) == np.sort(codes)).all()
    users, out = tmp_path / "users.csv", tmp_path / "recommended.csv"
    pl.DataFrame({"visitorid": version.snapshot.users.values}).write_csv(users)
    arguments = ["--registry", str(tmp_path / "registry"), "--users", str(users), "--out", str(out)]
    assert cli.main(["recommend", *arguments]) == 0
    recommended = pl.read_csv(out)["itemid"]
    assert len(recommended)
    assert not set(recommended) & set(sold_out)
