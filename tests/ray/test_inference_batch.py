import csv
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.errors import RegistryError
from recsys.inference import batch
from recsys.inference.batch import prepare, recommend_to, write
from recsys.inference.recommender import Recommender
from recsys.registry import bundle
from recsys.registry.folder import FolderStore
from recsys.schema import Objective
from tests.support.bundles import halve_ranker, odd_bundle, publish, small_bundle
from tests.support.shop_data import DOT_IDS, ODD_IDS, user_id
from tests.support.trained import Trained, trained_shop


def recommend(*arguments: Any, **options: Any) -> int:
    """As the command does it; the number of users."""
    prepared = prepare(*arguments, **options)
    write(prepared)
    return len(prepared.users)


UNKNOWN_USERS = [-3, 10**15]
ADDRESSABLE = [user for user in (*ODD_IDS, *DOT_IDS) if user == user.strip()]
"""Ids that a file of users can hold: spaces around an id are dropped."""


@pytest.fixture(scope="module")
def trained(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_shop(tmp_path_factory)


def users_file(folder: Path, ids: Sequence[object], header: str = "visitorid") -> Path:
    path = folder / "users.csv"
    path.write_text("\n".join([header, *map(str, ids), ""]))
    return path


def test_the_file_has_the_documented_columns(trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "made" / "out.parquet"
    wanted = [user_id(9), UNKNOWN_USERS[0], user_id(2), user_id(9)]
    assert recommend(str(trained.registry), None, users_file(tmp_path, wanted), 4, out) == 3
    table = pq.read_table(out)
    assert table.schema == pa.schema(
        [
            ("visitorid", pa.int64()),
            ("rank", pa.int32()),
            ("itemid", pa.int64()),
            ("score", pa.float64()),
            ("lgb_score", pa.float64()),
            ("mf_score", pa.float64()),
        ]
    )
    assert table["visitorid"].to_pylist() == [user for user in wanted[:3] for _ in range(4)]
    assert table["rank"].to_pylist() == [1, 2, 3, 4] * 3
    assert [path.name for path in out.parent.iterdir()] == ["out.parquet"]


def test_csv_or_parquet_by_the_ending(trained: Trained, tmp_path: Path) -> None:
    users = users_file(tmp_path, [user_id(9), UNKNOWN_USERS[0]])
    for name in ("out.csv", "out.parquet"):
        assert recommend(str(trained.registry), None, users, 4, tmp_path / name) == 2
    assert (tmp_path / "out.csv").read_bytes().count(b"\n") == 9
    table = pl.read_csv(tmp_path / "out.csv", schema_overrides={"rank": pl.Int32})
    assert table.equals(pl.read_parquet(tmp_path / "out.parquet"), null_equal=True)
    assert table["mf_score"].null_count() >= 4  # of the user without events


@pytest.mark.usefixtures("ray_session")
def test_texts_of_a_csv_file_are_quoted(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "registry")
    publish(store, odd_bundle(), "v1")
    users, out = tmp_path / "users.csv", tmp_path / "out.csv"
    pl.DataFrame({"visitorid": [*ADDRESSABLE, 'nobody, "here"']}).write_csv(users)
    recommend(str(store), None, users, 2, out)
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["visitorid"] for row in rows[::2]] == [*ADDRESSABLE, 'nobody, "here"']
    assert all(row["itemid"].endswith(" <b>'\"/é") for row in rows)


def test_a_batch_says_what_the_recommender_says(trained: Trained, tmp_path: Path) -> None:
    """For every user of the shop and some that it never saw, to the bit."""
    opened = bundle.read(trained.path)
    users = [*opened.snapshot.users.values.to_pylist(), *UNKNOWN_USERS]
    recommend(str(trained.registry), None, users_file(tmp_path, users), 5, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    histories = opened.snapshot.take(opened.snapshot.rows(pa.array(users)))
    found = Recommender.from_bundle(opened)(histories, opened.manifest.live_watermark, 5)
    assert table["itemid"].to_pylist() == opened.items.decode(found.items).to_pylist()
    for name, expected in (("score", found.scores), ("lgb_score", found.lgb_scores), ("mf_score", found.mf_scores)):
        np.testing.assert_array_equal(table[name].to_numpy(), expected, err_msg=name)


def test_unknown_users_share_the_cold_start_list(trained: Trained, tmp_path: Path) -> None:
    recommend(str(trained.registry), None, users_file(tmp_path, UNKNOWN_USERS), 10, tmp_path / "out.parquet")
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    first, second = rows[:10], rows[10:]
    assert [row["itemid"] for row in first] == [row["itemid"] for row in second]
    assert all(row["mf_score"] is None and row["score"] == row["lgb_score"] for row in rows)
    assert len({row["itemid"] for row in first}) == 10


def test_users_stay_in_the_order_of_the_file(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They make two blocks; the first waits until the second is done."""
    users = [user_id(user) if user < 200 else -user for user in range(10_000)][::-1]
    done = tmp_path / "done"

    def first_block_last(ids: pa.Array, *rest: Any) -> pa.Table:
        if ids[0].as_py() == users[0]:
            for _ in range(1000):
                if done.exists() or Event().wait(0.01):
                    break
        result = recommend_to(ids, *rest)
        if ids[-1].as_py() == users[-1]:
            done.touch()
        return result

    monkeypatch.setattr(batch, "recommend_to", first_block_last)
    assert recommend(str(trained.registry), None, users_file(tmp_path, users), 1, tmp_path / "out.parquet") == 10_000
    assert done.exists()
    assert pq.read_table(tmp_path / "out.parquet")["visitorid"].to_pylist() == users


def test_nobody(trained: Trained, tmp_path: Path) -> None:
    assert recommend(str(trained.registry), None, users_file(tmp_path, []), 5, tmp_path / "out.parquet") == 0
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["visitorid", "rank", "itemid", "score", "lgb_score", "mf_score"]
    assert len(table) == 0


def test_a_version_that_would_end_the_process_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    publish(store, small_bundle(), "v1")
    halve_ranker(store.path("v1"))
    with pytest.raises(RegistryError, match="the process that opened it ended with"):
        recommend(str(tmp_path), None, users_file(tmp_path, [1]), 5, tmp_path / "out.parquet")


def test_nothing_is_left_of_a_run_that_fails(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", fail)
    with pytest.raises(OSError, match="No space"):
        recommend(str(trained.registry), None, users_file(tmp_path, [1]), 5, tmp_path / "out.parquet")
    assert not list(tmp_path.glob("out.parquet*"))


@pytest.mark.parametrize(("objective", "share"), [("discover", None), ("repeat", None), ("all", 0.0)])
def test_an_objective_says_whether_items_are_new_to_the_user(
    trained: Trained, tmp_path: Path, objective: Objective, share: float | None
) -> None:
    opened = bundle.read(trained.path)
    ids = opened.snapshot.users.values.to_pylist()
    users, out = tmp_path / "users.csv", tmp_path / "out.parquet"
    users.write_text("\n".join(["visitorid", *map(str, ids)]))
    recommend(str(trained.registry), None, users, 5, out, objective, share)
    history = opened.snapshot.take(np.arange(len(ids)))
    had = {
        (ids[row], item) for row, item in zip(history.rows, opened.items.decode(history.items).to_pylist(), strict=True)
    }
    found = pl.read_parquet(out)
    assert len(found)
    assert {pair in had for pair in found.select("visitorid", "itemid").iter_rows()} == {objective == "repeat"}
