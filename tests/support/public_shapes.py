"""Files in the shapes of eight public logs, some thousand rows each, the same every time; nothing here needs Ray.

All tell of the same shop. Each writer returns what a reader has to make of its files, counted from the shop itself.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from recsys.data.layout.rules import EventNames
from recsys.schema import EVENT_TYPES
from tests.support.public_shop import TASTES, public_shop

item, user, time = pl.col("item"), pl.col("user"), pl.col("time")


@dataclass(frozen=True, slots=True)
class Expected:
    """What the files hold.

    columns: the columns of the log; times: their form in words; counts: events by type, those that can be used
    users, items: numbers of them; left_out: rows of `where`; ignored: rows of types without a meaning for training
    repeated: rows equal to another row; categories: number of them
    attributes: the attributes by name, with their kind; not_read: tables that are passed over
    """

    columns: EventNames
    times: str
    counts: Mapping[str, int]
    users: int
    items: int
    left_out: int = 0
    ignored: int = 0
    repeated: int = 0
    categories: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)
    not_read: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of files.

    write: writes the files of the shop of a seed to a folder
    settings: what a person writes in YAML, at most ten lines; "" for files that need nothing
    unaided: whether `recsys inspect` writes settings that train, without help from a person
    """

    write: Callable[[Path, int], Expected]
    settings: str = ""
    unaided: bool = True


def counted(log: pl.DataFrame, every: str | None = None) -> dict[str, int]:
    """The rows by type; every: the type of each row, for a log without types."""
    numbers = {every: len(log)} if every else dict(log["event"].value_counts().iter_rows())
    return {name: numbers.get(name, 0) for name in EVENT_TYPES}


def retailrocket(folder: Path, seed: int) -> Expected:
    """Events, two files of properties with hashed names among them, and a tree of categories."""
    shop = public_shop(seed)
    log = shop.journeys.with_columns(pl.when(pl.col("event") == "transaction").then("visit").alias("order"))
    stamp = time.dt.epoch("ms")
    log.select(
        stamp.alias("timestamp"),
        (user + 257_597).alias("visitorid"),
        "event",
        (item + 355_908).alias("itemid"),
        pl.col("order").alias("transactionid"),
    ).write_csv(folder / "events.csv")
    start = int(log["time"].dt.epoch("ms").min() or 0) - 86_400_000  # type: ignore[arg-type]
    rows = []
    for number, taste, _, _, price in shop.items.iter_rows():
        given = {
            "categoryid": str(1338 + taste),
            "available": "1",
            "790": f"n{price * 1000:.3f}",
            "888": "1116713 960601",
        }
        rows += [(start, number + 355_908, name, value) for name, value in given.items()]
    header = ["timestamp", "itemid", "property", "value"]
    for part in (0, 1):
        file = folder / f"item_properties_part{part + 1}.csv"
        pl.DataFrame(rows[part::2], schema=header, orient="row").write_csv(file)
    parents = [None, *(1338 + child // 2 for child in range(TASTES - 1))]
    tree = {"categoryid": range(1338, 1338 + TASTES), "parentid": parents}
    pl.DataFrame(tree).write_csv(folder / "category_tree.csv")
    users, items = (log[name].n_unique() for name in ("user", "item"))
    return Expected(EventNames(), "milliseconds since 1970", counted(log), users, items, categories=TASTES)


def cosmetics(folder: Path, seed: int) -> Expected:
    """A file for each month with times such as `2019-10-01 00:00:00 UTC`, and carts that are emptied again."""
    shop = public_shop(seed, start=datetime(2019, 10, 1, tzinfo=UTC))
    log = shop.journeys
    emptied = log.filter((pl.col("event") == "addtocart") & (pl.col("visit") % 4 == 0))
    emptied = emptied.with_columns(time + pl.duration(seconds=1), pl.lit("remove_from_cart").alias("event"))
    words = {"addtocart": "cart", "transaction": "purchase"}
    brands = pl.Series([*("runail", "irisk", "masura", "grattol", "jessnail", "kapous", "estel"), None])
    rows = pl.concat([log, emptied]).sort("time").join(shop.items, "item", maintain_order="left")
    table = rows.select(
        time.dt.strftime("%Y-%m-%d %H:%M:%S UTC").alias("event_time"),
        pl.col("event").replace(words).alias("event_type"),
        (item + 5_700_000).alias("product_id"),
        (pl.col("taste") + 1_487_580_005_134_238_553).alias("category_id"),
        pl.when(item == 3).then(pl.lit("appliances.environment.vacuum")).alias("category_code"),
        pl.Series("brand", brands.gather(rows["taste"])),
        pl.col("price"),
        (user + 463_240_011).alias("user_id"),
        pl.format("26dd6e6e-4dac-4778-8d2c-{}", pl.col("visit").cast(pl.String).str.zfill(12)).alias("user_session"),
    )
    months = rows["time"].dt.strftime("%Y-%b")
    for month in months.unique().to_list():
        table.filter(months == month).write_csv(folder / f"{month}.csv")
    users, items = (log[name].n_unique() for name in ("user", "item"))
    names = EventNames("user_id", "product_id", "event_time", "event_type", None)
    attributes = {"brand": "category", "price": "number"}
    return Expected(names, "year-month-day", counted(log), users, items, 0, len(emptied), 0, TASTES, attributes)


def invoices(folder: Path, seed: int) -> Expected:
    """Invoices with cancellations, missing customers, quoted descriptions with commas, and rows that repeat."""
    shop = public_shop(seed)
    rows = shop.baskets.join(shop.items, "item", maintain_order="left").with_row_index("row")
    row = pl.col("row")
    rows = rows.with_columns(pl.when(row % 5 != 2).then(user).alias("customer"), (row % 60 == 6).alias("cancelled"))
    repeats = rows.filter((row % 70 == 3) & ~pl.col("cancelled"))
    table = pl.concat([rows, repeats]).sort("row")
    table.select(
        pl.format(
            "{}{}", pl.when("cancelled").then(pl.lit("C")).otherwise(pl.lit("")), pl.col("visit") + 536_365
        ).alias("InvoiceNo"),
        pl.format("{}{}", item + 84_000, pl.when(item % 3 == 0).then(pl.lit("B")).otherwise(pl.lit(""))).alias(
            "StockCode"
        ),
        pl.col("title").alias("Description"),
        (pl.col("pieces") * pl.when("cancelled").then(-1).otherwise(1)).alias("Quantity"),
        time.dt.strftime("%-m/%-d/%Y %-H:%M").alias("InvoiceDate"),
        pl.col("price").alias("UnitPrice"),
        pl.format("{}.0", pl.col("customer") + 12_346).alias("CustomerID"),
        pl.when(user % 9 == 0).then(pl.lit("France")).otherwise(pl.lit("United Kingdom")).alias("Country"),
    ).write_csv(folder / "OnlineRetail.csv")
    good = table.filter(pl.col("customer").is_not_null() & ~pl.col("cancelled"))
    kept = good.unique("row")
    return Expected(
        EventNames("CustomerID", "StockCode", "InvoiceDate", None, "InvoiceNo"),
        "month/day/year",
        counted(kept, "transaction"),
        kept["customer"].n_unique(),
        kept["item"].n_unique(),
        left_out=len(table) - len(good),
        repeated=len(good) - len(kept),
        attributes={"unitprice": "number", "title": "text"},
    )


def receipts(folder: Path, seed: int) -> Expected:
    """Rows of receipts with a date as month/day/year, and customers with leading zeros and blanks behind them."""
    shop = public_shop(seed, start=datetime(2000, 11, 1, tzinfo=UTC))
    rows = shop.baskets.join(shop.items, "item", maintain_order="left")
    rows.select(
        time.dt.strftime("%-m/%-d/%Y").alias("TRANSACTION_DT"),
        ((user + 1_104_905).cast(pl.String).str.zfill(8) + "  ").alias("CUSTOMER_ID"),
        pl.format("{}-{}", 25 + user % 5 * 5, 29 + user % 5 * 5).alias("AGE_GROUP"),
        (user % 4 + 105).alias("PIN_CODE"),
        (pl.col("taste") + 110_411).alias("PRODUCT_SUBCLASS"),
        (item + 4_710_199_010_372).cast(pl.String).str.zfill(14).alias("PRODUCT_ID"),
        pl.col("pieces").alias("AMOUNT"),
        (pl.col("price") * pl.col("pieces") * 0.8).round().cast(pl.Int64).alias("ASSET"),
        (pl.col("price") * pl.col("pieces")).round().cast(pl.Int64).alias("SALES_PRICE"),
    ).write_csv(folder / "ta_feng_all_months_merged.csv", quote_style="always")
    users, items = (rows[name].n_unique() for name in ("user", "item"))
    names = EventNames("CUSTOMER_ID", "PRODUCT_ID", "TRANSACTION_DT", None, None)
    kinds = {"product_subclass": "category"}
    return Expected(names, "month/day/year", counted(rows, "transaction"), users, items, attributes=kinds)


def fashion(folder: Path, seed: int) -> Expected:
    """Transactions with a date, a table of articles whose ids begin with 0, and a table of customers."""
    shop = public_shop(seed, start=datetime(2019, 9, 1, tzinfo=UTC))
    rows = shop.baskets.join(shop.items, "item", maintain_order="left")
    names = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(1000)]
    article = (item + 663_713_001).cast(pl.String).str.zfill(10).alias("article_id")
    rows.select(
        time.dt.strftime("%Y-%m-%d").alias("t_dat"),
        pl.Series("customer_id", [names[number] for number in rows["user"].to_list()]),
        article,
        (pl.col("price") / 590).alias("price"),
        (user % 2 + 1).alias("sales_channel_id"),
    ).write_csv(folder / "transactions_train.csv")
    shop.items.select(
        article,
        (item // 3 + 663_713).alias("product_code"),
        pl.col("title").alias("prod_name"),
        (pl.col("taste") + 253).alias("product_type_no"),
        pl.format("Type {}", pl.col("taste")).alias("product_type_name"),
        pl.col("colour").alias("colour_group_name"),
        pl.format("Department {}", pl.col("taste") // 2).alias("department_name"),
        pl.format("{} of soft jersey with narrow straps, and a hem that is as long as this.", pl.col("title")).alias(
            "detail_desc"
        ),
    ).write_csv(folder / "articles.csv")
    customers = {"customer_id": names[:50], "FN": [1.0] * 50, "age": range(20, 70), "postal_code": names[50:100]}
    pl.DataFrame(customers).write_csv(folder / "customers.csv")
    users, items = (rows[name].n_unique() for name in ("user", "item"))
    return Expected(
        EventNames("customer_id", "article_id", "t_dat", None, None),
        "year-month-day",
        counted(rows, "transaction"),
        users,
        items,
        categories=TASTES,
        attributes={"colour_group_name": "category", "title": "text"},
        not_read=("customers",),
    )


def orders(folder: Path, seed: int) -> Expected:
    """Orders without times of day, and a table of products."""
    shop = public_shop(seed)
    rows = shop.baskets
    rows.select(
        (pl.col("visit") + 2_539_329).alias("order_id"),
        (user + 1).alias("user_id"),
        (item + 196).alias("product_id"),
        pl.int_range(pl.len()).over("visit").alias("add_to_cart_order") + 1,
        time.dt.strftime("%Y-%m-%d").alias("order_date"),
    ).write_csv(folder / "orders.csv")
    shop.items.select(
        (item + 196).alias("product_id"),
        pl.col("title").str.to_titlecase().alias("product_name"),
        (pl.col("taste") + 61).alias("aisle_id"),
        (pl.col("taste") // 2 + 19).alias("department_id"),
    ).write_csv(folder / "products.csv")
    users, items = (rows[name].n_unique() for name in ("user", "item"))
    names = EventNames("user_id", "product_id", "order_date", None, "order_id")
    attributes = {"aisle_id": "category", "department_id": "category", "title": "text"}
    return Expected(names, "year-month-day", counted(rows, "transaction"), users, items, attributes=attributes)


def ratings(folder: Path, seed: int) -> Expected:
    """Ratings and movies without a header, `::` between the columns, and titles in Latin-1."""
    shop = public_shop(seed, start=datetime(2000, 4, 25, tzinfo=UTC))
    rows = shop.baskets
    columns = (rows["user"] + 1, rows["item"] + 1, rows["pieces"] % 5 + 1, rows["time"].dt.epoch("s"))
    _write_dat(folder / "ratings.dat", *columns)
    genres = pl.Series(["Animation", "Comedy", "Drama", "Film-Noir", "Horror", "Sci-Fi", "Thriller", "Western"])
    tags = [f"{genres[taste]}|{genres[(taste + 3) % TASTES]}" for taste in shop.items["taste"].to_list()]
    titles = "Misérables " + shop.items["title"] + " (1995)"
    _write_dat(folder / "movies.dat", shop.items["item"] + 1, titles, pl.Series(tags))
    numbers = pl.Series(np.arange(1, 221))
    _write_dat(folder / "users.dat", numbers, pl.Series(["F", "M"] * 110), numbers % 50, numbers % 20)
    (folder / "README").write_text("These files contain ratings of movies.\n")
    users, items = (rows[name].n_unique() for name in ("user", "item"))
    return Expected(
        EventNames("UserID", "MovieID", "Timestamp", None, None),
        "seconds since 1970",
        counted(rows, "view"),
        users,
        items,
        attributes={"genres": "tags", "title": "text"},
        categories=TASTES,
        not_read=("users",),
    )


def _write_dat(file: Path, *columns: pl.Series) -> None:
    lines = ["::".join(map(str, row)) for row in zip(*(column.to_list() for column in columns), strict=True)]
    file.write_bytes("".join(f"{line}\n" for line in lines).encode("latin-1"))


RATINGS: Final = """
data:
  events:
    files: ratings.dat
    header: [UserID, MovieID, Rating, Timestamp]
  items:
    files: movies.dat
    encoding: latin-1
    header: [MovieID, Title, Genres]
"""


def warehouse(folder: Path, seed: int) -> Expected:
    """Partitioned Parquet with nested columns, as Spark writes it."""
    shop = public_shop(seed, start=datetime(2021, 1, 1, tzinfo=UTC))
    log = shop.journeys
    words = {"view": "view_item", "addtocart": "add_to_cart", "transaction": "purchase"}
    full = log.join(shop.items, "item", maintain_order="left")
    rows = full.select(
        pl.struct((user + 900_719_925_474_000).alias("id"), pl.lit("web").alias("device")).alias("user"),
        pl.struct(pl.format("SKU-{}", item).alias("sku"), "price", pl.col("colour")).alias("item"),
        time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("event_timestamp"),
        pl.col("event").replace(words).alias("event_name"),
        time.dt.strftime("%Y-%m-%d").alias("dt"),
    )
    for (day,), part in rows.partition_by("dt", as_dict=True).items():
        path = folder / f"dt={day}"
        path.mkdir(parents=True)
        part.drop("dt").write_parquet(path / "part-0000.snappy.parquet", compression="snappy")
    (folder / "_SUCCESS").touch()
    users, items = (log[name].n_unique() for name in ("user", "item"))
    names = EventNames("user.id", "item.sku", "event_timestamp", "event_name", None)
    attributes = {"item_price": "number", "item_colour": "category"}
    return Expected(names, "year-month-day", counted(log), users, items, attributes=attributes)


SHAPES: Final[Mapping[str, Shape]] = {
    "retailrocket": Shape(retailrocket),
    "cosmetics": Shape(cosmetics),
    "invoices": Shape(invoices, "data: {events: {where: [Quantity > 0, CustomerID is not blank]}}"),
    "receipts": Shape(receipts),
    "fashion": Shape(fashion),
    "orders": Shape(orders),
    "ratings": Shape(ratings, RATINGS, unaided=False),
    "warehouse": Shape(warehouse),
}
