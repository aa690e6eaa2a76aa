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

from recsys import cli
from recsys.errors import DataError, RegistryError, RuleError
from recsys.inference import batch
from recsys.inference.batch import prepare, recommend_to, write
from recsys.inference.list_rules import ListRules
from recsys.inference.recommender import Recommender
from recsys.inference.sentences import load_sentences
from recsys.inference.session_batch import recommend_to_sessions, session_table
from recsys.inference.session_files import read_sessions
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
ADDRESSABLE = [*ODD_IDS, *DOT_IDS]
"""Ids that a file of users can hold."""


@pytest.fixture(scope="module")
def trained(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_shop(tmp_path_factory)


def test_filters_and_a_rules_file_hold_for_every_list(trained: Trained, tmp_path: Path) -> None:
    wanted, out = [user_id(number) for number in range(9)], tmp_path / "out.csv"
    file, filters = tmp_path / "rules.yaml", tmp_path / "filters.yaml"
    users = users_file(tmp_path, wanted)
    recommend(str(trained.registry), None, users, 3, out)
    with out.open() as lines:
        popular = {row["itemid"] for row in csv.DictReader(lines)}
    file.write_text(f"rules:\n- name: none of these\n  filter: without\n  where: {{items: [{', '.join(popular)}]}}\n")
    filters.write_text("only:\n- {categories: [1]}\n")
    rules = ListRules.read(filters, file, 0)
    assert recommend(str(trained.registry), None, users, 3, out, rules=rules) == len(wanted)
    opened = bundle.read(FolderStore(trained.registry).path())
    first_level = opened.tables.statistics.levels[:, 0]
    with out.open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 3 * len(wanted)
    assert not popular & {row["itemid"] for row in rows}
    assert {opened.categories[first_level[opened.items.code(int(row["itemid"]))]] for row in rows} == {1}
    filters.write_text("only:\n- {attribute: colour, values: [red]}\n")
    wrong = ListRules.read(filters, None, 0)
    with pytest.raises(RuleError, match="no attribute 'colour'"):
        prepare(str(trained.registry), None, users, 3, out, rules=wrong)
    with pytest.raises(DataError, match=r"absent\.yaml cannot be read"):
        ListRules.read(None, tmp_path / "absent.yaml", 0)


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


def test_explanations_are_further_columns(trained: Trained, tmp_path: Path) -> None:
    users, out = users_file(tmp_path, [user_id(9), UNKNOWN_USERS[0]]), tmp_path / "out.csv"
    german = load_sentences().templates["de"]
    assert recommend(str(trained.registry), None, users, 4, out, templates=german) == 2
    table = pl.read_csv(out)
    assert table.columns[-3:] == ["sources", "because_of", "sentence"]
    assert table["sources"].str.contains(r"^[a-z_]+(,[a-z_]+)*$").all()
    assert table["because_of"][:4].null_count() < 4
    assert table["because_of"][4:].null_count() == 4
    assert table["sentence"][4] == "Nummer 1 der Lieblingsartikel unserer Kunden."


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


def test_sessions_of_a_file_get_lists(trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By the command, and as the stages recommend to them."""
    opened = bundle.read(trained.path)
    path, out = tmp_path / "sessions.csv", tmp_path / "out.csv"
    codes = np.arange(600) % len(opened.items)
    rows = [f"{number},{opened.items[code]}" for number, code in enumerate(codes.tolist())]
    path.write_text("\n".join(["session,item", *rows, f"0,{opened.items[5]}", "0,-1", ""]))
    arguments = ["sessions", "--registry", str(trained.registry), "--data", str(path), "--out", str(out), "--n", "4"]
    assert cli.main(arguments) == 0
    assert "600 sessions, 1 events on unknown items passed over" in capfd.readouterr().out
    found = pl.read_csv(out)
    table = session_table(read_sessions(path, opened))
    expected = pl.DataFrame(recommend_to_sessions(table, opened, Recommender.from_bundle(opened), 4))
    assert found["session"].unique(maintain_order=True).to_list() == list(range(600))
    columns = "session", "rank", "itemid"
    assert found.select(columns).equals(expected.select(columns))
