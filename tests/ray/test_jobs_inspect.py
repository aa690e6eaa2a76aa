"""`recsys inspect` on files in the shapes of public logs: what it prints, and the settings that it writes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys import cli
from recsys.config import TrainConfig, parse_config
from recsys.data.ingest import ShopData, ingest
from recsys.data.sources import resolve
from tests.support.public_shapes import SHAPES
from tests.support.shop_data import write_shop

pytestmark = pytest.mark.usefixtures("ray_session")

NOW = 1_800_000_000_000


def inspected(folder: Path, capfd: pytest.CaptureFixture[str]) -> tuple[str, dict[str, Any]]:
    """The printed text, and the settings that were written."""
    arguments = ["inspect", "--data", str(folder), "--write", str(folder.parent / "shop.yaml")]
    assert cli.main(arguments) == 0
    return capfd.readouterr().out, yaml.safe_load((folder.parent / "shop.yaml").read_text())


def read(folder: Path, settings: Any) -> ShopData:
    config = parse_config(TrainConfig, settings)
    return ingest(resolve(str(folder), folder.parent), config.data, NOW, folder.parent / "quarantine.parquet")


def test_the_page_of_an_inspection(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "invoices"
    folder.mkdir()
    SHAPES["invoices"].write(folder, 0)
    text, settings = inspected(folder, capfd)
    assert settings["data"]["events"] == {
        "columns": {"user": "CustomerID", "item": "StockCode", "time": "InvoiceDate", "order": "InvoiceNo"},
        "types": "transaction",
        "time_zone": "UTC",
        "time_format": "month/day/year",
        "where": ["CustomerID is not blank", "Quantity > 0"],
    }
    assert "OnlineRetail (1 file): events" in text
    assert "CustomerID blank" in text
    assert "of the events are on an item that the user had before" in text


def test_words_without_a_meaning_are_counted_and_left_as_a_question(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    rows = "".join(
        f"{row % 5},{row % 3},2020-01-{1 + row % 28:02d},{'swipe' if row % 4 else 'buy'}\n" for row in range(200)
    )
    (folder / "log.csv").write_text(f"user,item,date,action\n{rows}")
    text, settings = inspected(folder, capfd)
    assert settings["data"]["events"]["types"] == {"buy": "transaction"}
    assert "# swipe: view | addtocart | transaction | ignore   (150 rows; choose one)" in text


def test_a_shop_in_the_default_format(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_shop(tmp_path / "data")
    text, settings = inspected(folder, capfd)
    assert read(folder, settings).fingerprint == read(folder, {}).fingerprint
    assert "days without an event: no gap of two or more" in text


def test_an_id_that_stands_for_many_and_cancelled_orders_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    users = ["guest" if row % 4 == 0 else f"u{row % 83}" for row in range(800)]
    ends = [f"{'done' if row % 9 else 'Cancelled'},{2.0 if row % 20 else -2.0}" for row in range(800)]
    rows = [f"{user},{row % 31},2020-01-{1 + row % 28:02d},{ends[row]}" for row, user in enumerate(users)]
    (folder / "orders.csv").write_text("\n".join(["customer,sku,order date,order status,qty", *rows, ""]))
    text, settings = inspected(folder, capfd)
    assert "user 'guest' has 25.0% of the events" in text
    assert settings["data"]["events"]["where"] == ["order status != Cancelled", "qty > 0"]
    assert "# where: [order status != Cancelled, qty > 0, customer != guest]" in text


def test_rows_in_another_encoding_are_a_question(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    rows = "".join(f"{row % 5},{row % 3},2020-01-{1 + row % 28:02d},größe\n" for row in range(50))
    (folder / "log.csv").write_bytes(f"user,item,date,size\n{rows}".encode("cp1252"))
    text, _ = inspected(folder, capfd)
    assert "# encoding: cp1252" in text
    assert "no usable event among 50 rows" in " ".join(text.split())
