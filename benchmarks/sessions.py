"""The next item of a session: the session model against peers, through the code that serves.

    python benchmarks/sessions.py --data FILE.parquet [--quick] [--sessions N] [--json FILE]
    python benchmarks/sessions.py --shop synthetic:0.2 [--json FILE]

FILE has the columns session, item and period; the rows of a session are in the order of time. The last period is the
test: 4,000 sessions of two or more items that occur before it, drawn once, every prefix, the whole catalogue. The
decays of the neighbours (for VSTAN too) are chosen, and the ranker is trained, on the period before the last, with
tables of the periods before that one. Reported are HR@20 and MRR@20 of all targets and of those new to the session, and
the kernel's CPU time for one session on one thread, also with ten times the sessions (drawn with replacement).

`--quick` tests 1,000 sessions and leaves the ten times out.

With `--shop`, a shop is trained on instead, and the figures are those of its validation window, for all sessions and
for those of known users: the session model with and without their histories, and the main path with and without the
session.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from peers.session_models import VSTAN, Decays, Markov, Peer, Popularity, VSkNN
from session_parts.logs import PeriodLog, end_of
from session_parts.shop import validation_table

from recsys.schema import DAY
from recsys.sessions.learning import (
    as_model,
    calibrated,
    labelled_rows,
    neighbour_ranks,
    train_ranker,
    tuned,
)
from recsys.sessions.log import SessionLog
from recsys.sessions.model import SessionModel, SessionProposer
from recsys.sessions.prefixes import Prefixes, hit_rate, labelled, mrr, target_ranks
from recsys.sessions.settings import SessionConfig
from recsys.sessions.tables import ItemFacts, SessionTables, fit_session_tables

Row = dict[str, str | float]

K: Final = 20
OURS: Final = "session model"
TIMED: Final = 500
"""Prefixes whose time is measured, one by one."""


def measure(log: PeriodLog, n_sessions: int, *, quick: bool) -> Iterator[Row]:
    """The rows of all systems, as soon as they are measured."""
    last = log.last
    test = labelled(log.drawn(last, n_sessions))
    yield row("test", "targets", float(len(test)), "count")
    yield row("test", "targets that repeat an item of the session", float(test.repeats.mean()), "fraction")
    start = time.perf_counter()
    model = trained(log, last)
    yield row(OURS, "training", time.perf_counter() - start, "s")
    past, config = log.before(last), model.config
    for peer in peers(past, end_of(last), config):
        yield from quality(peer.name, test, peer_ranks(peer, test))
    yield from quality("neighbours alone", test, neighbour_ranks(model.tables, test, config.neighbours, config))
    rows = labelled_rows(model, test)
    yield from quality(OURS, test, rows.ranks(model.rank(rows.candidates.features)))
    yield from timing(OURS, model, test)
    if not quick:
        tables = fit_session_tables(log.resampled(last, 10), end_of(last), log.n_items, config)
        large = SessionModel(tables, model.facts, config, model.ranker, model.calibration)
        yield from timing(f"{OURS}, 10x sessions", large, test)


def trained(log: PeriodLog, last: int) -> SessionModel:
    """The session model for the test period: its choices and its ranker come from the period before it."""
    config, facts = SessionConfig(), ItemFacts.none(log.n_items)
    tables = fitted(log, last - 1, config)
    prefixes = labelled(log.drawn(last - 1, len(log.ids)))
    config = tuned(tables, prefixes.drawn(config.validation_prefixes, 0), config)
    chosen = config.neighbours.model_dump(include={"query_decay", "recency_days", "idf", "power", "last_decay"})
    print(f"chosen on period {last - 1}: {chosen}", flush=True)
    rows = labelled_rows(SessionProposer(tables, facts, config), prefixes.drawn(config.max_prefixes, 0))
    ranker = train_ranker([rows], config, 0)
    proposer = SessionProposer(fitted(log, last, config), facts, config)
    return as_model(proposer, ranker, calibrated(rows, ranker))


def fitted(log: PeriodLog, period: int, config: SessionConfig) -> SessionTables:
    """The tables of the sessions before a period."""
    return fit_session_tables(log.before(period), end_of(period), log.n_items, config)


def peers(past: SessionLog, end: int, config: SessionConfig) -> Iterator[Peer]:
    """The peers, fitted on the same sessions."""
    offsets, items = past.sessions.offsets.tolist(), past.sessions.items.tolist()
    sessions = [items[start:stop] for start, stop in pairwise(offsets)]
    yield Popularity(sessions)
    yield Markov(sessions)
    yield VSkNN(sessions)
    chosen = config.neighbours
    decays = Decays(
        chosen.query_decay,
        chosen.recency_days,
        chosen.distance_decay,
        chosen.last_decay,
        chosen.before,
        chosen.idf,
        chosen.power,
    )
    yield VSTAN(sessions, ((end - past.ends) / DAY).tolist(), decays)


def peer_ranks(peer: Peer, test: Prefixes) -> np.ndarray:
    """The ranks of the targets in the lists of a peer, see `target_ranks`."""
    offsets, items = test.sessions.offsets.tolist(), test.sessions.items.tolist()
    lists = [peer(items[start:stop]) for start, stop in pairwise(offsets)]
    users = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    flat = np.array([item for one in lists for item in one], np.int64)
    falling = np.concatenate([np.zeros(0), *(np.arange(len(one), 0, -1.0) for one in lists)])
    return target_ranks(users, flat, falling, test.targets)


def quality(system: str, test: Prefixes, ranks: np.ndarray) -> Iterator[Row]:
    """HR@20 and MRR@20 of a system."""
    groups: Mapping[str, np.ndarray] = {"all targets": ranks, "new to the session": ranks[~test.repeats]}
    for group, some in groups.items():
        yield row(system, f"HR@{K}, {group}", hit_rate(some, K), "fraction")
        yield row(system, f"MRR@{K}, {group}", mrr(some, K), "fraction")


def timing(system: str, model: SessionModel, test: Prefixes) -> Iterator[Row]:
    """The CPU time of candidates, features and ranker for one session at a time; other processes do not change it."""
    some = test.drawn(TIMED, 0)
    times = []
    for place in range(len(some)):
        session = some.sessions.take(np.array([place]))
        start = time.thread_time()
        model.calibrate(model.rank(model.propose(session).features))
        times.append(time.thread_time() - start)
    for name, quantile in (("p50", 0.5), ("p90", 0.9)):
        yield row(system, f"kernel {name}", float(np.quantile(times, quantile)) * 1e3, "ms")


def shop_rows(source: str) -> Iterator[Row]:
    """The rows of a training on a shop."""
    for line in validation_table(source):
        system, group = str(line["system"]), str(line["group"])
        yield row(system, f"prefixes, {group}", float(line["prefixes"]), "count")
        for name, title in (("hit_rate", "HR"), ("mrr", "MRR"), ("ndcg", "NDCG")):
            yield row(system, f"{title}@{K}, {group}", float(line[name]), "fraction")


def row(system: str, metric: str, value: float, unit: str) -> Row:
    return {"system": system, "setting": "next item", "metric": metric, "value": round(value, 4), "unit": unit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    log = parser.add_mutually_exclusive_group(required=True)
    log.add_argument("--data", type=Path, help="Parquet file with the columns session, item, period")
    log.add_argument("--shop", help="a source of `recsys train --data`, such as synthetic:0.2")
    parser.add_argument("--quick", action="store_true", help="1,000 test sessions, and not ten times the sessions")
    parser.add_argument("--sessions", type=int, help="test sessions, instead of 4,000")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows = []
    n_sessions = options.sessions or (1_000 if options.quick else 4_000)
    if options.shop:
        lines = shop_rows(options.shop)
    else:
        lines = measure(PeriodLog.read(options.data), n_sessions, quick=options.quick)
    for line in lines:
        rows.append(line)
        print(f"{line['system']:30} {line['metric']:45} {line['value']:>12,.10g} {line['unit']}", flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
