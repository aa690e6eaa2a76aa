"""The settings that an inspection proposes: they are YAML, and they leave out what cannot be used."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.config import TrainConfig, parse_config
from recsys.data.inspect import Inspection, inspect, summarize
from recsys.data.layout.describe import describe
from recsys.data.layout.rules import Blanks
from recsys.data.layout.unclear import UnclearError, refuse
from recsys.data.quarantine import Checked, ReasonCount
from recsys.data.readers.base import HALF_WRITTEN, NOT_TEXT
from recsys.data.sources import resolve
from recsys.data.suggest import suggest

NOW = 1_800_000_000_000
ROWS = "".join(f"u{row % 7},{row % 4},{1_600_000_000 + row * 3600}\n" for row in range(50))
HEADER = "user_id,item_id,timestamp\n"


def proposed(folder: Path, *checked: Checked, **files: str) -> tuple[str, Any]:
    """The settings after rows were found unusable, as text and as YAML reads them."""
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    data = parse_config(TrainConfig, {}).data
    layout = describe(resolve(str(folder), folder / "work"), data.events, data.items, data.properties)
    counts = tuple(count for each in checked for count in each.counts)
    tables = summarize(layout, Blanks.create(data.events.blanks))
    text = suggest(Inspection(layout, tables, (), None, "", counts, checked), data)
    return text, yaml.safe_load(text)["data"]


def bad(kind: str, read: int, **reasons: int) -> Checked:
    """Rows of a kind with numbers of unusable ones; in the names of the reasons _ is a blank."""
    counts = (ReasonCount(name.replace("__", " "), rows, "shop.csv", 7, "") for name, rows in reasons.items())
    return Checked(kind, read, tuple(counts))


def test_rows_of_items_are_measured_by_their_own_number(tmp_path: Path) -> None:
    items = bad("item property", 40, available__odd=3)
    text, data = proposed(tmp_path, bad("event", 100_000), items, events=HEADER + ROWS, items="item_id,brand\n1,a\n")
    assert "# 3 of 40 item property rows cannot be used: available odd, first in row 7 of shop.csv" in text
    assert "# max_bad_fraction: 0.084" in text
    assert "max_bad_fraction" not in data
    few = bad("item property", 40_000, available__odd=3)
    assert "cannot be used" not in proposed(tmp_path, bad("event", 10), few)[0]


def test_no_fraction_is_proposed_where_most_rows_are_unusable(tmp_path: Path) -> None:
    text, _ = proposed(tmp_path, bad("event", 50, odd=40), events=HEADER + ROWS)
    assert "# Mend these rows; no setting allows so many." in text
    assert "max_bad_fraction" not in text


def test_the_encoding_stands_with_the_tables_that_need_it(tmp_path: Path) -> None:
    broken = Checked("item property", 40, (ReasonCount(NOT_TEXT, 40, "items.csv", 2, ""),))
    text, _ = proposed(tmp_path, bad("event", 50), broken, events=HEADER + ROWS, items="item_id,brand\n1,a\n")
    answered = yaml.safe_load(text.replace("# encoding:", "encoding:"))["data"]
    assert (answered["items"]["encoding"], "encoding" in answered["events"]) == ("cp1252", False)
    own = Checked("event", 50, (ReasonCount(NOT_TEXT, 50, "events.csv", 2, ""),))
    text, _ = proposed(tmp_path, own)
    assert yaml.safe_load(text.replace("# encoding:", "encoding:"))["data"]["events"]["encoding"] == "cp1252"


def test_reasons_that_are_too_many_together_are_left_out_together(tmp_path: Path) -> None:
    checked = bad("event", 1000, user_id__blank=8, item_id__blank=6, timestamp__blank=1)
    _, data = proposed(tmp_path, checked, events=HEADER + ROWS)
    assert data["events"]["where"] == ["user_id is not blank"]
    checked = bad("event", 1000, user_id__blank=30, item_id__blank=20, timestamp__odd=1)
    text, data = proposed(tmp_path, checked)
    assert data["events"]["where"] == ["user_id is not blank", "item_id is not blank"]
    assert "cannot be used" not in text
    halves = Checked("event", 1000, tuple(ReasonCount(name, 7, "a.csv", 2, "") for name in (HALF_WRITTEN, NOT_TEXT)))
    assert "# max_bad_fraction: 0.016" in proposed(tmp_path, halves)[0]


def test_names_with_blanks_at_their_ends(tmp_path: Path) -> None:
    header = "order_id, user_id, item_id, timestamp, Status\n"
    rows = "".join(
        f"{row},u{row % 7},{row % 4},{1_600_000_000 + row},{(' cancelled', 'paid')[row % 2]}\n" for row in range(50)
    )
    _, data = proposed(tmp_path, bad("event", 50, **{"user_id__blank": 20}), events=header + rows)
    assert data["events"]["where"] == [" user_id is not blank", " Status !=  cancelled"]
    config = parse_config(TrainConfig, {"data": data}).data
    layout = describe(resolve(str(tmp_path), tmp_path / "work"), config.events, config.items, config.properties)
    assert layout.events is not None
    assert [one.column for one in layout.events.rules.where] == [" user_id", " Status"]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\u2028", "\x85"])
def test_names_with_line_breaks_leave_the_settings_readable(tmp_path: Path, line_break: str) -> None:
    names = {"user": f"user{line_break}id", "item": f"item{line_break}no", "time": "timestamp"}
    header = ",".join(f'"{name}"' for name in names.values())
    _, data = proposed(tmp_path, bad("event", 50), log=f"{header}\n{ROWS}")
    assert data["events"]["columns"] == names
    (tmp_path / "log.csv").write_text(f"{header.replace('timestamp', f'when{line_break}ever')}\n{ROWS}")
    config = parse_config(TrainConfig, {}).data
    inspection = inspect(resolve(str(tmp_path), tmp_path / "work"), config, NOW)
    text = suggest(inspection, config)
    assert text.splitlines() == text.removesuffix("\n").split("\n")
    assert "# time: " in text
    parse_config(TrainConfig, yaml.safe_load(text))
    with pytest.raises(UnclearError) as caught:
        refuse(inspection.unclear, "shop")
    assert len(str(caught.value).splitlines()) == 1
