"""Retraining on a small shop: a challenger is promoted or kept, and data that changed too much are refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys import cli, console
from recsys.data.sources import resolve
from recsys.evaluation import protocol
from recsys.evaluation.metrics import Truth
from recsys.histories import Histories
from recsys.ids import Ids
from recsys.inference.batch import recommend_to
from recsys.inference.recommender import Recommender
from recsys.jobs.retrain import run
from recsys.jobs.train import read
from recsys.registry.decisions import Decision, decision_about, last_decision
from recsys.registry.folder import FolderStore
from recsys.registry.leases import Lease
from recsys.registry.lock import LOCK, LockEntry, LockLost
from recsys.registry.store import Check, Confirm, accept, check_hashes
from recsys.schema import DAY
from recsys.training.retrain.comparison import plan_match
from recsys.training.retrain.production import open_production, version_lists
from tests.support.once import once
from tests.support.shop_data import END, START, Event, events, train_arguments, write_shop
from tests.support.world import small_config

OLD_DAYS = 76
"""Days of the log that production was trained on; the whole log has 14 more."""
CHEAP = ("evaluation.seeds=1", "examples.discover=false", "retrain.min_users=30")

Retrain = Callable[..., int]


@pytest.fixture(scope="module")
def base(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a registry whose version in production has seen OLD_DAYS, and the data of all days."""

    def make(folder: Path) -> None:
        old = [row for row in events() if row.timestamp <= START + OLD_DAYS * DAY]
        arguments = train_arguments(write_shop(folder / "old", old), folder / "registry", *CHEAP)
        if cli.main(["retrain", *arguments]):
            raise RuntimeError("the first retraining failed; its error is on stderr")
        write_shop(folder / "new")

    return once(tmp_path_factory, "retrained", make)


@pytest.fixture
def registry(base: Path, tmp_path: Path) -> Path:
    """A copy of the registry."""
    shutil.copytree(base / "registry", tmp_path / "registry")
    return tmp_path / "registry"


@pytest.fixture
def retrain(base: Path, registry: Path) -> Retrain:
    """The exit code of `recsys retrain` on some rows of events, by default on all days."""

    def run(*settings: str, rows: list[Event] | None = None, options: tuple[str, ...] = ()) -> int:
        data = base / "new" if rows is None else write_shop(registry.parent / "data", rows)
        return cli.main(["retrain", *train_arguments(data, registry, *CHEAP, *settings), *options])

    return run


def last(registry: Path) -> Decision:
    decision = last_decision(FolderStore(registry))
    assert decision is not None
    return decision


def test_the_first_version_is_promoted(base: Path) -> None:
    decision = last(base / "registry")
    assert (decision.outcome, decision.production, decision.figures) == ("promoted", None, None)
    assert decision.version == FolderStore(base / "registry").production()


def test_a_challenger_that_is_not_worse_is_promoted(
    retrain: Retrain, registry: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = FolderStore(registry)
    before = store.production()
    assert retrain("retrain.margin=0.3") == 0
    out, err = capfd.readouterr()
    decision = last(registry)
    assert (decision.outcome, decision.version, decision.production) == ("promoted", store.production(), before)
    assert store.production() != before
    found = decision.figures
    assert found is not None
    assert (found.opponent, found.end, found.targets) == ("version", END, ("transaction",))
    [old] = [version for version in store.versions() if version.name == before]
    assert 0 <= found.start - old.summary["live_watermark"] < DAY  # it begins at production's watermark
    assert found.users >= 30
    assert found.low >= found.bound == pytest.approx(-0.3 * found.production)
    assert 0.1 < found.production < 1
    assert f"compared with {before} itself" in out
    assert "outcome=promoted" in err
    assert "comparison_opponent=version" in err
    assert all(gate.passed for gate in decision.gates)
    assert cli.main(["models", "show", str(decision.version), "--registry", str(registry)]) == 0
    shown = capfd.readouterr().out
    assert f"production {found.production:.4f}" in shown
    assert "gate drift" in shown
    assert cli.main(["models", "list", "--registry", str(registry)]) == 0
    assert capfd.readouterr().out.count("promoted") == 2


def test_a_worse_challenger_is_kept(retrain: Retrain, registry: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where there are too few newest days, production's settings are refitted; a ranker of one split is worse."""
    store = FolderStore(registry)
    before = store.production()
    worse = ("ranker.max_trees=1", "ranker.num_leaves=2", "hybrid.alpha=0", "retrain.margin=0")
    assert retrain("retrain.min_days=15", *worse) == 0
    decision = last(registry)
    assert decision.figures is not None
    assert decision.figures.opponent == "refit"
    assert decision.figures.difference < 0
    assert (decision.outcome, store.production()) == ("kept", before)
    assert decision_about(store, str(decision.version)) == decision
    out = capfd.readouterr().out
    assert f"the settings of {before}, refitted as of the cut" in out
    assert f"models promote --registry {registry} {decision.version}" in out


class StolenLock(FolderStore):
    """A registry whose lock another process takes right before the promotion, as after a long suspension."""

    def promote(self, version: str, check: Check = check_hashes, confirm: Confirm = accept) -> None:
        content, _ = self.files.read(LOCK) or (b"", "")
        entry = LockEntry.model_validate_json(content).model_copy(update={"token": "another's"})
        self.files.write(LOCK, entry.dump())
        super().promote(version, check, confirm)


class ChangedProduction(FolderStore):
    """A registry in which somebody promotes another version while a challenger is published."""

    def publish(self, fill: Callable[[Path], None], version: str | None = None) -> str:
        production = self.path()
        published = super().publish(fill, version)
        super().publish(lambda folder: shutil.copytree(production, folder, dirs_exist_ok=True) and None, "other")
        self.promote("other")
        return published


def run_with(store: FolderStore, base: Path, tmp_path: Path) -> Decision:
    """A retraining that would promote, on a store that misbehaves."""
    config = small_config(*CHEAP, "retrain.margin=0.3")
    source = resolve(str(base / "new"), tmp_path / "work")
    return run(source, store, config, tmp_path / "work", END + DAY)


def test_a_run_that_lost_its_lock_promotes_nothing(base: Path, registry: Path, tmp_path: Path) -> None:
    before = FolderStore(registry).production()
    with pytest.raises(LockLost):
        run_with(StolenLock(registry), base, tmp_path)
    assert FolderStore(registry).production() == before
    decision = last(registry)
    assert decision.outcome == "kept"
    assert decision.reason.startswith("it was not promoted: the lock ")
    assert decision_about(FolderStore(registry), str(decision.version)) == decision


def test_a_challenger_is_kept_where_production_changed_meanwhile(base: Path, registry: Path, tmp_path: Path) -> None:
    before = FolderStore(registry).production()
    decision = run_with(ChangedProduction(registry), base, tmp_path)
    assert decision.outcome == "kept"
    assert decision.reason == f"it was compared with {before}, and now other is in production"
    assert FolderStore(registry).production() == "other"
    assert last(registry) == decision


def test_data_that_lack_many_of_the_newest_events_are_refused(
    retrain: Retrain, registry: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = FolderStore(registry)
    versions = {version.name for version in store.versions()}
    Lease(store, seconds=-1).renew(sorted(versions))
    recent = START + OLD_DAYS * DAY
    rows = [
        row for number, row in enumerate(events()) if row.timestamp <= recent or not number % 5 or row.timestamp == END
    ]
    assert retrain(rows=rows) == console.BAD_INPUT
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "events in the newest week" in line or "before the newest" in line
    assert "expected 60% or more (retrain.gates.min_events_fraction)" in line
    assert "--allow events" in line
    assert {version.name for version in store.versions()} == versions
    decision = last(registry)
    assert (decision.outcome, decision.version) == ("refused", None)
    assert [gate.gate for gate in decision.gates if not gate.passed] == ["events"]
    assert store.files.names("leases/") == []  # the one that has ended is removed by the way


def test_a_gate_that_is_allowed_stops_nothing(
    retrain: Retrain, registry: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The log of production itself, with settings of its own; nothing can be learned from its first days."""
    rows = [row for row in events() if row.timestamp <= START + 3 * DAY]
    production = FolderStore(registry).production()
    gates = ("events", "drift", "catalog", "attributes")
    assert retrain(rows=rows, options=tuple(part for gate in gates for part in ("--allow", gate))) == 0
    decision = last(registry)
    assert (decision.outcome, decision.reason) == ("kept", "it is not learned, and production is")
    assert FolderStore(registry).production() == production
    allowed = [gate.gate for gate in decision.gates if gate.allowed and not gate.passed]
    assert "events" in allowed
    assert "warning: events, allowed: the data end " in capfd.readouterr().out


@pytest.mark.parametrize(
    ("settings", "opponent", "why"),
    [
        ((), "version", "it has not seen the newest 14 days"),
        (("retrain.max_days=5",), "version", "it has not seen the newest 5 days"),
        (("retrain.min_days=15",), "same settings", "span 14.0 days, fewer than 15"),
        (("retrain.min_users=10000",), "same settings", "fewer than 10000"),
        (("retrain.min_days=15", "ranker.max_trees=3"), "refit", "span 14.0 days, fewer than 15"),
    ],
)
def test_the_opponent_depends_on_what_production_has_not_seen(
    base: Path, tmp_path: Path, settings: tuple[str, ...], opponent: str, why: str
) -> None:
    config = small_config(*CHEAP, *settings)
    shop = read(resolve(str(base / "new"), tmp_path), config, tmp_path, END + DAY)
    production = open_production(FolderStore(base / "registry"))
    assert production is not None
    match = plan_match(shop, config, production, str(tmp_path))
    assert match.opponent == opponent
    assert why in match.why


def test_with_the_same_settings_the_gates_alone_decide(retrain: Retrain, registry: Path) -> None:
    before = FolderStore(registry).production()
    assert retrain("retrain.min_days=15") == 0
    decision = last(registry)
    assert (decision.outcome, decision.figures, decision.production) == ("promoted", None, before)
    assert decision.reason.startswith("not compared, the gates alone decided: the events after")


def test_a_registry_that_lost_its_pointer_is_no_new_one(
    retrain: Retrain, registry: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (registry / "production").unlink()
    assert retrain() == console.BAD_INPUT
    assert "has versions, but none is in production" in capfd.readouterr().err


def test_the_data_have_to_be_named(registry: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["retrain", "--registry", str(registry)]) == console.BAD_INPUT
    assert "--data is missing" in capfd.readouterr().err


def test_production_in_a_comparison_recommends_as_it_does_in_batches(base: Path) -> None:
    store = FolderStore(base / "registry")
    production = open_production(store)
    assert production is not None
    opened = production.opened
    users = opened.snapshot.users.values
    # The shop has an item that the version lacks, before all others, so that every code differs. A user has viewed it.
    items = Ids(pa.concat_arrays([pa.array([1]), opened.items.values]))
    seen = opened.snapshot.histories
    histories = Histories(
        np.append(seen.offsets[:-1], seen.offsets[-1] + 1),
        np.append(seen.items + 1, 0).astype(seen.items.dtype),
        np.append(seen.events, 0).astype(seen.events.dtype),
        np.append(seen.times, seen.times[-1]),
    )
    truth = Truth(np.arange(len(users) + 1), np.zeros(len(users), np.int32))
    cases = protocol.TestCases(users, histories, truth)
    lists = version_lists(production, str(store), items, cases, production.watermark, 10)
    expected = recommend_to(users, opened, Recommender.from_bundle(opened), 10)
    assert items.decode(lists[lists >= 0]).to_pylist() == expected["itemid"].to_pylist()


def test_a_decision_that_is_broken_is_named(registry: Path, capfd: pytest.CaptureFixture[str]) -> None:
    version = FolderStore(registry).production()
    (registry / "decisions" / f"{version}.json").write_text(json.dumps({"outcome": "perhaps"}))
    assert cli.main(["models", "show", str(version), "--registry", str(registry)]) == console.BAD_INPUT
    assert f"decisions/{version}.json: expected a decision" in capfd.readouterr().err
    assert cli.main(["models", "list", "--registry", str(registry)]) == 0
    assert "broken" in capfd.readouterr().out
