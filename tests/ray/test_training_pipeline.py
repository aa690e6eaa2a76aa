"""One run of the whole training on the small shop."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys import cli
from recsys.config import TrainConfig, parse_config
from recsys.models.blend import AlphaCurves
from recsys.models.rankers.rows import RankingData
from recsys.registry import bundle
from recsys.registry.folder import FolderStore
from recsys.schema import DAY, EVENT_TYPES
from recsys.training.ranker import SelectedRanker
from recsys.training.refit import FinalRankers, drift_of
from recsys.training.validation import Validation
from tests.support.bundles import BLEND, small_ranker
from tests.support.features import NAMES, SOURCES
from tests.support.shop_data import END, START, USERS, events, train_arguments, write_shop
from tests.support.trained import SESSIONS, Trained, metrics_of, trained_shop
from tests.support.world import small_config


@pytest.fixture(scope="module")
def trained(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_shop(tmp_path_factory)


def row(trained: Trained, system: str, group: str = "all", table: str = "table") -> dict[str, Any]:
    [found] = [r for r in trained.metrics[table] if (r["system"], r["group"]) == (system, group)]
    return found


def test_one_version_is_published_and_in_production(trained: Trained) -> None:
    store = FolderStore(trained.registry)
    assert store.production() == trained.version
    assert {"manifest.json", "metrics.json", "config.json", "ranker.txt"} <= {p.name for p in trained.path.iterdir()}


def test_the_manifest_describes_the_data(trained: Trained) -> None:
    manifest = bundle.read(trained.path).manifest
    kinds = [event.event for event in set(events())]
    assert manifest.counts.events == {kind: kinds.count(kind) for kind in EVENT_TYPES}
    assert (manifest.counts.users, manifest.counts.items, manifest.counts.mf_users, manifest.counts.mf_items) == (
        USERS,
        60,
        USERS,
        60,
    )
    assert (manifest.date_range.start, manifest.date_range.end, manifest.live_watermark) == (START, END, END)
    assert manifest.targets == ("transaction",)
    assert manifest.headline["ndcg@10 all"] == row(trained, "hybrid")["ndcg@10"]


def test_what_is_served_of_new_items_is_judged_whoever_ranks_them(trained: Trained) -> None:
    judged = row(trained, "hybrid, objective discover", table="new_items")
    assert judged["users"] == row(trained, "hybrid", table="new_items")["users"]


def test_publishing_is_not_promoting(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = tmp_path / "registry"
    assert cli.main(["train", *train_arguments(trained.data, registry, SESSIONS), "--promote", "never"]) == 0
    store = FolderStore(registry)
    [version] = store.versions()
    assert store.production() is None
    out = capsys.readouterr().out
    assert f"published {version.name}, not in production" in out
    assert f"models promote --registry {registry} {version.name}" in out
    assert cli.main(["models", "promote", "--registry", str(registry), version.name]) == 0
    assert store.production() == version.name
    assert metrics_of(registry) == trained.metrics


def test_the_published_model_has_seen_every_event(trained: Trained) -> None:
    opened = bundle.read(trained.path)
    views = opened.tables.statistics.item("item_views")
    assert np.nansum(views) == opened.manifest.counts.events["view"]
    assert opened.snapshot.histories.times.max() == END
    assert len(opened.snapshot.users) == USERS
    assert opened.ranker.n_trees == trained.metrics["trees"]


def test_the_table_sets_every_system_apart_for_warm_and_cold_users(trained: Trained) -> None:
    systems = dict.fromkeys(found["system"] for found in trained.metrics["table"])
    named = {"hybrid", "ranker alone", "factorization alone", "popularity", *(f"source {name}" for name in SOURCES)}
    assert named < set(systems)
    assert "personal frequency, 60 days" in systems
    for system in systems:
        everyone, warm, cold = (row(trained, system, group) for group in ("all", "warm", "cold"))
        assert everyone["users"] == warm["users"] + cold["users"]
        assert min(warm["users"], cold["users"]) > 0
        mean = (warm["users"] * warm["ndcg@10"] + cold["users"] * cold["ndcg@10"]) / everyone["users"]
        assert everyone["ndcg@10"] == pytest.approx(mean)
        assert everyone["ndcg@10_low"] <= everyone["ndcg@10"] <= everyone["ndcg@10_high"]
        for name in ("recall@10", "precision@10", "hit@10", "mrr@10", "coverage@10"):
            assert 0 <= everyone[name] <= 1


def test_classification_over_the_candidates_is_beside_the_baselines(trained: Trained) -> None:
    for system in ("hybrid", "ranker alone", "factorization alone", "popularity", "personal frequency, 60 days"):
        for group in ("all", "warm", "cold"):
            assert 0 < row(trained, system, group)["average_precision"] <= row(trained, system, group)["roc_auc"] <= 1
    assert row(trained, "hybrid")["roc_auc"] > max(0.5, row(trained, "popularity")["roc_auc"])


def test_the_model_learns_the_taste_of_users(trained: Trained) -> None:
    """They prefer one category; popularity knows nothing of it."""
    assert row(trained, "hybrid", "warm")["ndcg@10"] > row(trained, "popularity", "warm")["ndcg@10"] + 0.05


def test_new_items_are_judged_apart(trained: Trained) -> None:
    assert row(trained, "hybrid", table="new_items")["users"] < row(trained, "hybrid")["users"]
    assert row(trained, "source own", table="new_items")["ndcg@10"] == 0
    popular, frequent = (
        row(trained, name, table="new_items") for name in ("popularity", "personal frequency, 60 days")
    )
    assert frequent | {"system": "popularity"} == popular


def test_differences_have_intervals(trained: Trained) -> None:
    for found in trained.metrics["differences"]:
        gap = row(trained, "hybrid")["ndcg@10"] - row(trained, found["system"])["ndcg@10"]
        assert found["mean"] == pytest.approx(gap)
        assert found["low"] <= found["mean"] <= found["high"]


def test_candidates_are_described(trained: Trained) -> None:
    found = trained.metrics["candidates"]
    assert [source["source"] for source in found["sources"]] == list(SOURCES)
    assert max(source["recall"] for source in found["sources"]) <= found["recall"] <= 1
    assert sum(source["recall_alone"] for source in found["sources"]) <= found["recall"]
    assert found["per_user"] == 20


def test_choices_are_recorded(trained: Trained) -> None:
    metrics = trained.metrics
    curve = {point["alpha"]: point["ndcg"] for point in metrics["alpha_curve"]}
    new_items = {point["alpha"]: point["new_items_ndcg"] for point in metrics["alpha_curve"]}
    assert list(curve) == sorted(small_config().hybrid.grid)
    enough = [alpha for alpha, ndcg in curve.items() if ndcg >= 0.995 * max(curve.values())]
    assert metrics["alpha"] == max(enough, key=lambda alpha: (new_items[alpha], -alpha))
    manifest = bundle.read(trained.path).manifest
    assert [blend.alpha for blend in manifest.blends] == [metrics["alpha"], metrics["discovery_alpha"]]
    assert metrics["plan"] == {
        "horizon": 14,
        "train": [42, 56],
        "preranker": 70,
        "validation": 28,
        "test": 14,
        "refit": [14],
    }
    assert set(metrics["importance"]) == set(NAMES)
    assert 0 <= metrics["score_drift"] <= 1
    assert metrics["quality"]["events_read"] == len(events())
    assert "up to the test window" in metrics["model"]


def test_metrics_are_plain_json(trained: Trained) -> None:
    text = (trained.path / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == trained.metrics


def test_the_config_is_kept_with_the_windows_and_targets_of_the_log(trained: Trained) -> None:
    windows = ("evaluation.test_days=14", "examples.horizon_days=14", "examples.step_days=14")
    complete = small_config(*windows, "examples.min_history_days=7", "targets=[transaction]", SESSIONS)
    assert parse_config(TrainConfig, json.loads((trained.path / "config.json").read_text())) == complete


def test_a_session_model_is_published_with_its_comparison(trained: Trained) -> None:
    opened = bundle.read(trained.path)
    model, sessions = opened.sessions, trained.metrics["sessions"]
    assert model is not None
    assert opened.manifest.no_sessions is sessions["left_out"] is None
    measured = {(entry["system"], entry["group"]): entry["ndcg"] for entry in sessions["table"]}
    assert sessions["lead"]["mean"] == pytest.approx(
        measured["session model", "all sessions"] - measured["main path", "all sessions"]
    )
    assert {group for _, group in measured} == {"all sessions", "known users"}
    assert model.tables.counts[:, 0].sum() > 0
    session = opened.snapshot.histories.take(np.array([0])).latest(2)
    candidates = model.propose(session)
    scores = model.calibrate(model.rank(candidates.features))
    assert len(scores) > 10
    assert ((scores > 0) & (scores < 1)).all()


def test_a_refit_that_scores_otherwise_is_named() -> None:
    ranker = small_ranker()
    rows = np.random.default_rng(0).random((50, len(NAMES))).astype(np.float32)
    data = RankingData(rows, (np.arange(50) < 3).astype(np.int8), np.array([50]))
    validation = Validation(None, None, data, BLEND.mf)  # type: ignore[arg-type]
    same = SelectedRanker(ranker, 31, [], BLEND, AlphaCurves({0.0: 0.0}), ranker.predict(rows))
    assert drift_of(ranker, same, validation) == 0
    drift = drift_of(ranker, replace(same, scores=same.scores + 5), validation)
    [warning] = FinalRankers(ranker, drift, None).warnings(0.1)
    assert f"moved the calibrated scores of the ranker by {drift:.3f}, more than hybrid.max_drift = 0.1" in warning
    assert FinalRankers(ranker, drift, None).warnings(1.0) == ()
    assert "the ranker of new items" in FinalRankers(ranker, 0.0, ranker, drift).warnings(0.1)[0]


@pytest.mark.usefixtures("ray_session")
def test_where_nobody_chose_a_new_item_there_is_no_ranker_of_these_and_few_sessions_no_session_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_shop(tmp_path / "data")
    log = pl.read_csv(folder / "events.csv", infer_schema=False)
    time = pl.col("timestamp").cast(pl.Int64)
    begins = END - 14 * DAY * ((END - time) // (14 * DAY) + 1)
    first = time.min().over("visitorid", "itemid")
    new = (pl.col("event") == "transaction") & (time > END - 28 * DAY) & (first > begins)
    log.filter(~new).write_csv(folder / "events.csv")
    settings = ("sessions.publish=auto", "sessions.min_prefixes=100000")
    assert cli.main(["train", *train_arguments(folder, tmp_path / "registry", *settings)]) == 0
    assert not [row for row in metrics_of(tmp_path / "registry")["new_items"] if "discover" in row["system"]]
    published = bundle.read(FolderStore(tmp_path / "registry").path())
    assert published.manifest.discovery_blend is None
    assert published.sessions is None
    assert "expected 100,000 or more (sessions.min_prefixes)" in (published.manifest.no_sessions or "")
    assert "no session model: in 14 days" in " ".join(capsys.readouterr().out.split())
