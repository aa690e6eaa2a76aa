"""Data on S3 over HTTP: any process reads it like a folder, a range of bytes at a time. Faults of S3 are injected."""

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data import reading, sources
from recsys.data.ingest import DataConfig, ShopData, ingest
from recsys.data.readers.base import UNREADABLE
from recsys.data.readers.csv import CsvReader
from recsys.data.readers.parquet import ParquetReader
from recsys.data.reading import read_piece, rows_before, split_file
from recsys.errors import DataError
from recsys.schema import DAY
from recsys.storage import s3
from recsys.storage.filesystem import FolderValue, file_at, files_in, put, remove
from tests.support.buckets import Proxy
from tests.support.processes import free_port
from tests.support.shop_data import END, Event, Property, events, properties, write_shop
from tests.support.tables import write

COLUMNS = ["a", "b"]


def upload(folder: Path, prefix: str) -> str:
    for path in folder.rglob("*"):
        if path.is_file():
            put(path, f"{prefix}/{path.relative_to(folder).as_posix()}")
    return prefix


def rows_of(address: str) -> tuple[list[str], list[str]]:
    """The rows of a file as numbers and texts, and the broken lines."""
    rows, broken = [], []
    for piece in split_file(file_at(address), COLUMNS):
        before = rows_before(piece) + 1
        for chunk in read_piece(piece, COLUMNS):
            values = zip(chunk.rows, *(column.to_pylist() for column in chunk.columns.columns), strict=True)
            rows += [f"{row + before}: {a} {b}" for row, a, b in values]
            broken += [f"{row + before}: {text}" for row, text, _ in chunk.broken]
    return rows, broken


def table(n: int) -> bytes:
    return "".join(["a,b\n", *(f"{row},{row * row}\n" for row in range(n))]).encode()


# Finding files


def test_a_prefix_is_laid_out_like_a_folder(bucket: str, tmp_path: Path) -> None:
    names = ("events/b.csv", "events/a.csv.gz", "events/.hidden.csv", "events/dt=1/c.csv", "events/dt=2/")
    for name in (*names, "item_properties_part2.csv", "item_properties_part1.parquet", "category_tree.csv", "notes"):
        put(b"x", f"{bucket}/shop/{name}")
    for name in ("", "events/_SUCCESS", "events/empty.csv", "events/empty.csv.gz"):
        put(gzip.compress(b"") if name.endswith("gz") else b"", f"{bucket}/shop/{name}")
    source = sources.resolve(f"{bucket}/shop/", tmp_path)
    assert [file.address.removeprefix(f"{bucket}/shop/") for file in source.files("events")] == [
        "events/a.csv.gz",
        "events/b.csv",
        "events/dt=1/c.csv",
    ]
    passed_over = [file.address.removeprefix(f"{bucket}/shop/") for file in source.passed_over]
    assert passed_over == ["events/empty.csv", "events/empty.csv.gz", "notes"]
    assert [file.name for file in source.files("item_properties")] == [
        "item_properties_part1.parquet",
        "item_properties_part2.csv",
    ]
    assert source.files("category_tree") == (file_at(f"{bucket}/shop/category_tree.csv"),)
    assert not list(tmp_path.iterdir())


def test_a_bucket_itself_may_be_the_source(bucket: str, tmp_path: Path) -> None:
    put(b"", f"{bucket}/events.csv")
    assert [file.address for file in sources.resolve(bucket, tmp_path).files("events")] == [f"{bucket}/events.csv"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("logs/x.csv", {"x": ["logs/x.csv"]}),
        ("logs/*.csv", {"x": ["logs/x.csv"], "y": ["logs/y.csv"]}),
        ("logs/**/?.csv", {"x": ["logs/x.csv"], "y": ["logs/y.csv"], "z": ["logs/dt=1/z.csv"]}),
        ("*/dt=[!2]", {"z": ["logs/dt=1/z.csv"]}),
    ],
)
def test_files_and_patterns_on_s3(bucket: str, tmp_path: Path, spec: str, expected: dict[str, list[str]]) -> None:
    for name in ("logs/x.csv", "logs/y.csv", "logs/dt=1/z.csv"):
        put(b"a\n", f"{bucket}/{name}")
    tables = {table.name: table.files for table in sources.resolve(f"{bucket}/{spec}", tmp_path).tables}
    names = {name: [file.address.removeprefix(f"{bucket}/") for file in files] for name, files in tables.items()}
    assert names == expected
    assert all(file.values == (FolderValue("dt", "1"),) for file in tables.get("z", ()))


def test_a_source_that_is_not_there(bucket: str, faults: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    def error(spec: str) -> str:
        with pytest.raises(DataError) as caught:
            sources.resolve(spec, "nowhere")
        return str(caught.value)

    assert error(f"{bucket}/shop").startswith(f"data source '{bucket}/shop' has no tables; expected a folder")
    assert error(f"{bucket}/shop/*.csv") == f"{bucket}/shop/*.csv: no file matches"
    assert error("s3://no-such-bucket-here/shop") == "s3://no-such-bucket-here/shop: no such bucket"
    faults.spoil("403", "GET .*list-type")
    assert error(f"{bucket}/shop") == (f"{bucket}/shop: access denied: the credentials do not permit ListObjectsV2")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    assert "Could not connect" in error(f"{bucket}/shop")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "no credentials" in error(f"{bucket}/shop")


# Reading


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.csv.zst", "x.parquet"])
def test_pieces_are_read_as_from_disk(
    bucket: str, faults: Proxy, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [CsvReader(piece_bytes=700, chunk_bytes=500), ParquetReader(piece_rows=40)]
    monkeypatch.setattr(reading, "READERS", small)
    if name == "x.parquet":
        pl.DataFrame({"a": range(200), "b": range(200)}).write_parquet(tmp_path / name, row_group_size=20)
    else:
        write(tmp_path / name, table(200) + b'broken\n\n7,"8\n9"\n')
    put(tmp_path / name, f"{bucket}/{name}")
    assert rows_of(f"{bucket}/{name}") == rows_of(str(tmp_path / name))
    assert faults.count("GET .*bytes=") > 1


def test_a_piece_asks_for_its_own_bytes_alone(bucket: str, faults: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READERS", [CsvReader(piece_bytes=1_000)])
    put(table(800), f"{bucket}/x.csv")
    piece = split_file(file_at(f"{bucket}/x.csv"), COLUMNS)[3]
    faults.requests.clear()
    list(read_piece(piece, COLUMNS))
    ranges = [request.split("bytes=")[1] for request in faults.requests if "bytes=" in request]
    assert ranges == ["0-4095", f"{piece.start}-{piece.stop - 1}"]  # the first range holds the header


@pytest.mark.parametrize("kind", ["500", "cut", "lost"])
@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_reading_gets_over_a_passing_fault(bucket: str, faults: Proxy, tmp_path: Path, name: str, kind: str) -> None:
    pq.write_table(pa.table({"a": range(100), "b": range(100)}), tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_bytes(table(100))
    put(tmp_path / name, f"{bucket}/{name}")
    fault = faults.spoil(kind, f"GET .*{name}", times=1)
    assert rows_of(f"{bucket}/{name}") == rows_of(str(tmp_path / name))
    assert fault.times == 0


@pytest.mark.parametrize(
    ("kind", "reason"), [("500", "INTERNAL_FAILURE|UNKNOWN"), ("403", "ACCESS_DENIED"), ("cut", "NETWORK_CONNECTION")]
)
def test_a_lasting_fault_is_one_line(
    bucket: str, faults: Proxy, kind: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splitting a file raises an error; reading a piece gives a broken line."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    put(table(100), f"{bucket}/x.csv")
    file = file_at(f"{bucket}/x.csv")
    [piece] = split_file(file, COLUMNS)
    faults.spoil(kind, r"GET .*x\.csv")
    with pytest.raises(DataError, match=rf"^{bucket}/x\.csv: cannot be read as CSV: .*({reason})") as caught:
        split_file(file, COLUMNS)
    assert "\n" not in str(caught.value)
    [[(_, text, what)]] = [chunk.broken for chunk in read_piece(piece, COLUMNS)]
    assert what == UNREADABLE
    assert text.startswith(f"{bucket}/x.csv: cannot be read as CSV: ")


def test_a_read_that_stalls_is_given_up_and_repeated(
    bucket: str, faults: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "READ_SECONDS", 1)
    put(table(100), f"{bucket}/x.csv")
    fault = faults.spoil("slow", r"GET .*x\.csv", times=1)
    assert len(rows_of(f"{bucket}/x.csv")[0]) == 100
    assert fault.times == 0


# A shop


def read(source: str, quarantine: str) -> ShopData:
    return ingest(sources.resolve(source, "nowhere"), DataConfig(partitions=2), END + DAY, quarantine)


def as_parts(folder: Path) -> None:
    lines = (folder / "events.csv").read_text().splitlines(keepends=True)
    (folder / "events").mkdir()
    (folder / "events" / "one.csv").write_text("".join(lines[:500]))
    (folder / "events" / "two.csv.gz").write_bytes(gzip.compress("".join([lines[0], *lines[500:]]).encode()))
    (folder / "events.csv").unlink()


def as_parquet(folder: Path) -> None:
    for path in folder.glob("*.csv"):
        pl.read_csv(path).write_parquet(path.with_suffix(".parquet"), row_group_size=300)
        path.unlink()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("form", [as_parts, as_parquet])
def test_a_shop_on_s3_is_the_shop_on_disk(
    bucket: str, faults: Proxy, tmp_path: Path, form: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks use the server that this process uses: the proxy. Their own environment does not name it."""
    monkeypatch.setattr(reading, "READERS", [CsvReader(piece_bytes=20_000), ParquetReader()])
    disk = read(str(write_shop(tmp_path / "shop")), str(tmp_path / "q.parquet"))
    form(tmp_path / "shop")
    upload(tmp_path / "shop", f"{bucket}/shop")
    faults.requests.clear()
    for kind in ("500", "cut"):
        faults.spoil(kind, "GET .*/events", times=1)
    shop = read(f"{bucket}/shop", f"{bucket}/work/q.parquet")
    assert shop.fingerprint == disk.fingerprint
    assert shop.quality == disk.quality
    assert faults.count("GET /.*/events.*bytes=") > 2
    assert shop.quality.quarantine is None
    assert files_in(f"{bucket}/work") == []


@pytest.mark.usefixtures("ray_session")
def test_bad_rows_are_named_by_file_and_row(bucket: str, tmp_path: Path) -> None:
    rows = [*events()[:500], Event(-1, 1, "view", 2), *events()[500:]]
    upload(write_shop(tmp_path, rows, [*properties(), Property(-5, 500, "categoryid", "1")]), f"{bucket}/shop")
    quality = read(f"{bucket}/shop", f"{bucket}/work/q.parquet").quality
    assert quality.quarantine == f"{bucket}/work/q.parquet"
    file = file_at(quality.quarantine)
    quarantined = pl.from_arrow(pq.read_table(file.path, filesystem=file.system))
    assert quarantined.select("file", "row", "column", "value").rows() == [
        (f"{bucket}/shop/events.csv", 502, "timestamp", "-1"),
        (f"{bucket}/shop/item_properties.csv", len(properties()) + 2, "timestamp", "-5"),
    ]
    with pytest.raises(DataError, match=rf"first in {bucket}/shop/events\.csv row 502: '-1'; all are .* in {bucket}/"):
        ingest(sources.resolve(f"{bucket}/shop", ""), DataConfig(max_bad_fraction=0), END + DAY, quality.quarantine)
    remove(quality.quarantine)
    assert files_in(f"{bucket}/work") == []


# Sources that are written first


def test_a_prepared_source_is_uploaded_once_with_its_events_last(
    bucket: str, faults: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def generate(folder: Path, scale: float, seed: int, *, attributes: bool) -> None:
        calls.append(scale)
        (folder / "oracle").mkdir()
        for name in ("events.csv", "item_properties_part1.csv", "item_properties_part2.csv", "category_tree.csv"):
            (folder / name).write_text(name)

    monkeypatch.setattr(sources.synthetic, "generate", generate)
    faults.spoil("403", "PUT .*/events.csv", times=1)
    with pytest.raises(DataError, match=rf"{bucket}/work/synthetic-0.5/events\.csv: access denied"):
        sources.resolve("synthetic:0.5", f"{bucket}/work")
    assert len(files_in(f"{bucket}/work/synthetic-0.5")) == 3
    first, second = (sources.resolve("synthetic:0.5", f"{bucket}/work/") for _ in range(2))
    assert first == second
    assert calls == [0.5, 0.5]
    assert [file.address for file in first.files("events")] == [f"{bucket}/work/synthetic-0.5/events.csv"]
    assert first.files("category_tree")[0].stream().read() == b"category_tree.csv"
    assert len(first.files("item_properties")) == 2
