"""What a run prints."""

from typing import Any

import pytest

from recsys.data.catalog import TreeProblems
from recsys.data.ingest import ShopData
from recsys.data.shop import PropertyQuality, Quality
from recsys.report.terminal import show_data, show_metrics
from tests.support.shop_data import END, START, USERS
from tests.support.world import small_config, small_world

K = ("ndcg@10", "recall@10", "precision@10", "hit@10", "mrr@10", "coverage@10")


def test_intervals_carry_the_configured_level(capsys: pytest.CaptureFixture[str]) -> None:
    row: dict[str, Any] = dict.fromkeys((*K, "ndcg@10_low", "ndcg@10_high", "ndcg@10_seeds"), 0.25)
    row |= {"system": "hybrid", "group": "all", "users": 7, "roc_auc": 0.875, "average_precision": None}
    metrics = {
        "table": [row],
        "new_items": [row],
        "differences": [{"system": "popularity", "mean": 0.1, "low": 0.0, "high": 0.2}],
        "candidates": {"recall": 0.5, "per_user": 20.0, "sources": []},
    }
    show_metrics(metrics, small_config("evaluation.confidence=0.9"))
    printed = capsys.readouterr().out
    assert "low, high (90%)" in printed
    assert "paired differences of ndcg@10, 90%" in printed
    assert "95%" not in printed
    assert "0.8750" in printed


def shop_of(quality: Quality) -> ShopData:
    world = small_world()
    return ShopData(
        world.items, "int64", (), USERS, {"view": 1234}, START, END, world.daily, world.catalog, quality, ""
    )


def test_every_row_set_aside_is_counted_by_reason(capsys: pytest.CaptureFixture[str]) -> None:
    tree = TreeProblems(cycles=2, not_in_tree=1)
    properties = PropertyQuality(2000, 1990, 0, 0, {"itemid blank": 10}, {"categoryid blank": 3}, tree)
    show_data(shop_of(Quality(5000, 4000, {"timestamp not positive": 1000}, 7, 0, properties, "/w/quarantine.parquet")))
    first, *lines = capsys.readouterr().out.splitlines()
    assert "1,234 view" in first
    assert lines == [
        "5,000 event rows read, 7 duplicates dropped, quarantined: 1,000 timestamp not positive",
        "2,000 item property rows read, 1,990 kept, quarantined: 10 itemid blank",
        "category tree: mended: 2 cycles, 1 not in tree, quarantined: 3 categoryid blank",
        "every quarantined row is listed in /w/quarantine.parquet",
    ]


def test_a_clean_shop_names_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    show_data(shop_of(Quality(9, 9, {}, 0, 0, PropertyQuality(0, 0, 0, 0, {}, {}, TreeProblems()))))
    printed = capsys.readouterr().out
    assert printed.count("quarantined: none") == 3
    assert "listed in" not in printed
