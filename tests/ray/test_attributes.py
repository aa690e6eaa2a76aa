"""A shop with a table of products, from its files to a version that recommends a product nobody has met."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys import cli
from recsys.inference.batch import recommend_to
from recsys.inference.recommender import Recommender
from recsys.registry.bundle import read
from recsys.registry.folder import FolderStore
from tests.support.shop_data import ITEMS, LEAVES, item_id, leaf_id, train_arguments, write_csv, write_shop

pytestmark = pytest.mark.usefixtures("ray_session")

UNMET = 6


def products() -> list[tuple[int, str, float, str, int]]:
    """All items of the shop, and a new one in each leaf category."""
    rows = [(item_id(n), f"Item {n}", 10.0 + n, f"brand {n % LEAVES}", leaf_id(n % LEAVES)) for n in range(ITEMS)]
    return rows + [(9000 + n, f"New {n}", 12.5 + n, f"brand {n}", leaf_id(n)) for n in range(UNMET)]


def test_a_table_of_products_is_used_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, registry = write_shop(tmp_path / "data"), tmp_path / "registry"
    write_csv(data / "products.csv", ("product_id", "name", "price", "brand", "shelf_code"), products())
    assert cli.main(["train", *train_arguments(data, registry)]) == 0
    printed = capsys.readouterr()
    assert "attributes of items: price (number), brand (category), shelf_code (category)" in printed.err + printed.out
    version = read(FolderStore(registry).path())
    assert len(version.items) == ITEMS + UNMET
    assert version.manifest.sources[-1] == "fresh"
    assert {"attr_price_vs_category", "attr_brand_affinity", "score_fresh"} <= set(version.manifest.features)
    new = version.items.encode(pa.array([9000 + n for n in range(UNMET)]))
    assert set(version.tables.retrieval.sources["fresh"]["items"].tolist()) == set(new.tolist())
    table = recommend_to(version.snapshot.users.values, version, Recommender.from_bundle(version), 20, "discover")
    titles = {row["itemid"]: row["title"] for row in table.to_pylist()}
    assert titles.items() <= {(item, title) for item, title, *_ in products()}
    assert np.isin(table["itemid"].to_numpy(), 9000 + np.arange(UNMET)).any()
