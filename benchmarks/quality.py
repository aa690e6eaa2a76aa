"""Our system and its peers on the same test users, by the benchmark protocol: once for all items, once for new items.

    python benchmarks/quality.py [--quick] [--data SOURCE] [--set SECTION.KEY=VALUE …] [--back N] [--json FILE]

- ours: the hybrid, the ranker and the factorization alone, evaluated as in a training run, with the mean over
  `evaluation.seeds` rankers;
- popularity, and the user's own items by decayed frequency with a tuned half-life;
- cmfrec alone over the whole catalogue; ALS, BPR, BM25 and cosine of implicit; RecTools' two-stage model.

Peers are tuned on the validation window by NDCG, for each of the two tables. Then they are fitted on all events before
the test window; peers with a random start are fitted once for each seed. If a peer's list is too short, popular items
fill it up. For new items, all items on which the user has an event are removed from lists and truth.

`--back N` first drops the newest N test windows. Make decisions on earlier windows, and keep the newest one for the
final check.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from peers import factorization, implicit_models, two_stage  # noqa: E402
from peers.earlier import before  # noqa: E402
from peers.grids import Chosen, best_settings, refitted  # noqa: E402
from peers.two_stage import Fit, PeerError  # noqa: E402
from peers.windows import ALL, NEW, Lists, Log, Question, Window, questions  # noqa: E402

from recsys import console  # noqa: E402
from recsys.cluster import start_ray  # noqa: E402
from recsys.config import TrainConfig, load_config  # noqa: E402
from recsys.data.ingest import ShopData, ingest  # noqa: E402
from recsys.data.sources import resolve  # noqa: E402
from recsys.errors import ConfigError  # noqa: E402
from recsys.evaluation import metrics, protocol  # noqa: E402
from recsys.evaluation.baselines import personal_frequency, tuned_half_life  # noqa: E402
from recsys.evaluation.protocol import TestCases  # noqa: E402
from recsys.models.tables import Tables  # noqa: E402
from recsys.schema import UNKNOWN  # noqa: E402
from recsys.timeline import Cut, day  # noqa: E402
from recsys.training.context import Context  # noqa: E402
from recsys.training.evaluation import score_discovery, score_test_window  # noqa: E402
from recsys.training.from_log import from_log  # noqa: E402
from recsys.training.preparation import RankerInputs, build_inputs  # noqa: E402
from recsys.training.ranker import select_rankers  # noqa: E402
from recsys.training.systems import HYBRID, hybrid_lists, popular_items  # noqa: E402

Row = dict[str, str | float]

QUICK: Final = "synthetic:0.02"
LEAD: Final = "hybrid's lead"
SOURCES: Final = {"als": "implicit ALS", "cosine": "implicit cosine"}
"""Peers whose tuned settings the candidate sources of the two-stage model take over."""


@dataclass(frozen=True, slots=True)
class System:
    """A system. runs: the lists of each seed; chosen: the tuned settings by question, "all" or "new"."""

    name: str
    runs: Sequence[Lists]
    chosen: Mapping[str, Chosen]

    def per_user(self, question: Question, metric: str) -> np.ndarray:
        """The metric of each user, the mean over the runs, float64 (n_users,)."""
        return np.mean([question.per_user(metric, lists) for lists in self.runs], axis=0)


@dataclass(frozen=True, slots=True)
class Contest:
    """The data that peers get.

    valid: the window on which they are tuned; test: the window on which they are compared
    asked: the questions of the validation window
    """

    valid: Window
    test: Window
    asked: Sequence[Question]
    metric: str
    seeds: Sequence[int]


def read(data: str, back: int, config: TrainConfig, work: Path) -> ShopData:
    """The shop, without its newest `back` test windows."""
    source, now, quarantine = resolve(data, work), int(time.time() * 1000), work / "quarantine.parquet"
    with console.step("read the data"):
        shop = ingest(source, config.data, now, quarantine)
    if back:
        end = Cut.at(shop.end, back * from_log(shop, config).config.test_days).time
        with console.step(f"read it again up to {day(end)}"):
            shop = ingest(before(source, end, work / "earlier"), config.data, now, quarantine)
    return shop


def ours(context: Context, inputs: RankerInputs) -> tuple[TestCases, list[System]]:
    """The test users, and the hybrid and its parts as a training run evaluates them."""
    selected = select_rankers(context, inputs)
    window = score_test_window(context, inputs, selected.all_items)
    discovery = score_discovery(context, inputs, selected, window, n_seeds=context.config.evaluation.seeds)
    if discovery is None:
        raise SystemExit("no user chose a new item in the test window, so there is nothing to compare")
    cases = window.cases
    every = hybrid_lists(context, cases, window.scored, window.blend)
    _, rows = protocol.new_items_only(cases)
    lists = hybrid_lists(context, discovery.cases, discovery.scored, discovery.blend)
    new = [{name: _spread(ranked, rows, len(cases)) for name, ranked in run.items()} for run in lists]
    runs = [{name: {ALL: a[name], NEW: b[name]} for name in a} for a, b in zip(every, new, strict=True)]
    return cases, [System(name, [run[name] for run in runs], {}) for name in every[0]]


def _spread(ranked: np.ndarray, rows: np.ndarray, n_users: int) -> np.ndarray:
    """Lists of some users as lists of all, empty for the others."""
    every = np.full((n_users, ranked.shape[1]), UNKNOWN, np.int32)
    every[rows] = ranked
    return every


def make_contest(context: Context, inputs: RankerInputs, cases: TestCases) -> Contest:
    shop, plan, config = context.shop, context.plan, context.config
    earlier, k = ray.get(inputs.validation).cases, config.evaluation.k
    popular = popular_items(context, plan.validation, k)
    half_life, _ = tuned_half_life(earlier, plan.validation.time, popular, k=k)
    log = Log.from_shop(shop)
    valid = Window.at(context, log, plan.validation, earlier, half_life)
    test = Window.at(context, log, plan.test, cases, half_life)
    seeds = range(config.seed, config.seed + config.evaluation.seeds)
    return Contest(valid, test, questions(earlier), f"ndcg@{k}", seeds)


def baselines(contest: Contest, tables: Tables) -> Iterator[System]:
    """The baselines; tables: those of the test window's cut"""
    test = contest.test
    popularity, depth, half_life = test.popularity(), test.depth, test.half_life
    yield System("popularity", [popularity], {})
    own = personal_frequency(test.cases.histories, test.now, test.popular[:depth], k=depth, half_life=half_life)
    # Without the user's own items, only popular items are left.
    yield System(f"personal frequency, {half_life:.0f} days", [{ALL: own, NEW: popularity[NEW]}], {})
    with console.step("cmfrec alone"):
        lists = factorization.rank(tables.factors, test)
    yield System("cmfrec alone, whole catalogue", [lists], {})


def implicit_peer(peer: implicit_models.Peer, contest: Contest) -> System:
    with console.step(f"{peer.name}, {len(peer.grid)} settings"):
        first, valid = contest.seeds[0], contest.valid
        trials = ((settings, implicit_models.rank(peer, valid, first, settings)) for settings in peer.grid)
        chosen = best_settings(trials, contest.asked, contest.metric)
    seeds = contest.seeds if peer.seeded else [first]
    with console.step(f"{peer.name}, refitted"):
        runs = [refitted(chosen, partial(implicit_models.rank, peer, contest.test, seed)) for seed in seeds]
    return System(peer.name, runs, chosen)


def two_stage_peer(contest: Contest, systems: Sequence[System], config: TrainConfig, work: Path) -> System:
    """The two-stage model of RecTools; raises PeerError if it cannot be run."""
    python, folder = two_stage.environment(work), work / "rectools"
    tuned = {name: next(system.chosen for system in systems if system.name == peer) for name, peer in SOURCES.items()}
    sources = {question: {name: chosen[question].settings for name, chosen in tuned.items()} for question in (ALL, NEW)}
    with console.step(f"{two_stage.NAME}, {len(two_stage.GRID)} settings"):
        fits = [Fit({ALL: point, NEW: point}, sources, contest.seeds[0]) for point in two_stage.GRID]
        lists = two_stage.rank(fits, contest.valid, config, python, folder)
        chosen = best_settings(zip(two_stage.GRID, lists, strict=True), contest.asked, contest.metric)
    with console.step(f"{two_stage.NAME}, refitted"):
        settings = {question: best.settings for question, best in chosen.items()}
        fits = [Fit(settings, sources, seed) for seed in contest.seeds]
        runs = two_stage.rank(fits, contest.test, config, python, folder)
    return System(two_stage.NAME, runs, chosen)


def compete(shop: ShopData, config: TrainConfig, work: Path) -> tuple[TestCases, list[System]]:
    """All systems, the hybrid first."""
    with console.step("tables, examples and validation of ours"):
        context = Context.create(shop, config, work)
        inputs = build_inputs(context)
    with console.step("select and score ours"):
        cases, systems = ours(context, inputs)
    contest = make_contest(context, inputs, cases)
    systems += baselines(contest, ray.get(inputs.tables[inputs.plan.test]))
    systems += [implicit_peer(peer, contest) for peer in implicit_models.PEERS]
    try:
        systems.append(two_stage_peer(contest, systems, config, work))
    except PeerError as problem:
        console.error(f"{two_stage.NAME} is left out: {problem}")
    return cases, systems


def standings(systems: Sequence[System], question: Question, config: TrainConfig) -> list[dict[str, Any]]:
    """One row for each system: means, the interval of NDCG, and the hybrid's lead with its paired interval."""
    settings, k = config.evaluation, config.evaluation.k
    names = [f"{name}@{k}" for name in protocol.PER_USER]
    values = {system.name: system.per_user(question, names[0]) for system in systems}
    rows = []
    for system in systems:
        low, high = metrics.bootstrap_interval(values[system.name], settings.resampling)
        runs = [question.mean(names[0], lists) for lists in system.runs]
        row: dict[str, Any] = {"system": system.name}
        row |= {name: float(system.per_user(question, name).mean()) for name in names}
        row |= {f"{names[0]}_low": low, f"{names[0]}_high": high}
        row[f"{names[0]}_seeds"] = float(np.std(runs, ddof=1)) if len(runs) > 1 else None
        if system.name != HYBRID:
            lead = metrics.paired_difference(values[HYBRID], values[system.name], settings.resampling)
            row |= {LEAD: lead.mean, f"{LEAD}_low": lead.low, f"{LEAD}_high": lead.high}
        rows.append(row)
    return rows


def show_standings(rows: Sequence[Mapping[str, Any]], title: str, k: int) -> None:
    first, *others = (f"{name}@{k}" for name in protocol.PER_USER)
    with_interval = [first, f"{first}_low", f"{first}_high"]
    lead = [LEAD, f"{LEAD}_low", f"{LEAD}_high"]
    heads = ["system", first, "low", "high", *others, LEAD, "low", "high"]
    cells = [[row.get(column) for column in ("system", *with_interval, *others, *lead)] for row in rows]
    console.table(heads, cells, title)


def show_chosen(systems: Sequence[System]) -> None:
    rows = [
        [system.name, question, best.validation, ", ".join(f"{k} {v}" for k, v in best.settings.items())]
        for system in systems
        for question, best in system.chosen.items()
    ]
    console.table(["tuned", "for", "validation", "settings"], rows)


def flat(rows: Sequence[Mapping[str, Any]], setting: str) -> list[Row]:
    """Flat rows, one for each number."""
    return [
        {"system": row["system"], "setting": setting, "metric": metric, "value": value, "unit": "score"}
        for row in rows
        for metric, value in row.items()
        if metric != "system" and value is not None
    ]


def flat_settings(systems: Sequence[System], setting: str) -> list[Row]:
    """Rows of the tuned settings, with their metric on the validation window."""
    return [
        {"system": system.name, "setting": f"{setting}, {question}", "metric": name, "value": value, "unit": unit}
        for system in systems
        for question, best in system.chosen.items()
        for name, value, unit in (
            ("validation", best.validation, "score"),
            *((f"chosen {name}", value, "setting") for name, value in best.settings.items()),
        )
    ]


def measure(data: str, back: int, config: TrainConfig, work: Path) -> list[Row]:
    """The rows of a comparison, which is also printed."""
    shop = read(data, back, config, work)
    config = from_log(shop, config).config
    cases, systems = compete(shop, config, work)
    show_chosen(systems)
    name = f"{data}, back {back}"
    rows = flat_settings(systems, name)
    for question in questions(cases):
        users = len(question.users)
        setting = f"{name}, {question.name}"
        rows.append({"system": "test users", "setting": setting, "metric": "all", "value": users, "unit": "count"})
        if users:
            standing = standings(systems, question, config)
            window = f"{day(Cut.at(shop.end, config.test_days).time)} to {day(shop.end)}"
            show_standings(standing, f"{setting}: {users} users, {window}", config.evaluation.k)
            rows += flat(standing, setting)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=QUICK)
    parser.add_argument("--data", default="completejourney")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--back", type=int, default=0, metavar="N", help="test windows to drop from the log's end")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "quality", help="for raw files, peers' packages")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()

    def command() -> None:
        config = load_config(None, options.settings)
        if options.back < 0:
            raise ConfigError(f"--back {options.back}: expected 0 or more")
        work = options.work.absolute()
        work.mkdir(parents=True, exist_ok=True)
        start_ray()
        rows = measure(QUICK if options.quick else options.data, options.back, config, work)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")

    return console.guarded(command)


if __name__ == "__main__":
    sys.exit(main())
