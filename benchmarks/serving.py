"""The service under load: as a Ray Serve graph, fused, without Serve, and as a graph that does no work.

    python benchmarks/serving.py [--quick] [--registry FOLDER] [--rounds N] [--profile] [--json FILE]

Systems, over the same version and the same HTTP routes:

- graph: every stage is a Serve deployment, one replica each;
- fused: all stages in one Serve deployment, one replica;
- plain: one process of FastAPI and uvicorn without Serve, the stages called in process, each request on its own;
- empty: the graph with its ingress and its batches, but stages that return ready arrays of the usual size. The ingress
  still computes its own part: blending, and the fold-in of single users.

Each system in turn has the machine to itself: it is started with its own Ray cluster, warmed up, measured at each
concurrency, and ended. A round does this for all systems, the next round in the opposite order, so that a slower or
faster machine affects all alike. wrk makes the load from the same machine: a fixed random mix of warm and cold users.
The table shows medians over the rounds, and sums of errors. The JSON has the least and the largest value too
(`p50_min`, `p50_max`). All ratios are of medians.

Memory is the proportional set size of all replicas after the load: shared pages count once. `memory of all` includes
Ray's own processes and HAProxy. `ready` is the time from a running Ray until /health answers 200.

--profile shows instead how the time of a request divides over the parts of the graph, and the processor time that each
process spends on a request.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from serving_parts.load import Load, check_wrk, request_mix, run_wrk, write_script  # noqa: E402
from serving_parts.processes import System, running  # noqa: E402

from recsys import console  # noqa: E402
from recsys.errors import RecsysError  # noqa: E402

SYSTEMS: Final = ("graph", "empty", "plain", "fused")
"""In the order of measurement, which the next round reverses. Systems that a bar compares are neighbours."""
CONCURRENCIES: Final = (1, 8, 32)
SAME_ANSWERS: Final = 20
"""Requests whose responses from graph, fused and plain are compared."""
MEGABYTE: Final = 1e6
IDLE_SECONDS: Final = 5.0
BATCH: Final = "requests in a batch"
SETTLE_SECONDS: Final = 2.5
"""More than the service's deadline, so that the last requests of a load have ended."""

Key = tuple[str, str, str, str]
"""system, setting, metric, unit"""
Samples = dict[Key, list[float]]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """The registry, the rounds, and seconds of a measurement and of its warm-up."""

    registry: Path
    rounds: int
    seconds: float
    warm_up: float
    warm_share: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A measure that must stay at or under a bar, or at or over it."""

    name: str
    value: Callable[[Callable[[str, str, str], float]], float]
    bar: float
    at_least: bool = False
    unit: str = "ratio"

    def met(self, value: float) -> bool:
        return value >= self.bar if self.at_least else value <= self.bar


BARS: Final = (
    Bar(
        "fused / plain, p50 at 1",
        lambda measured: measured("fused", "c=1", "p50") / measured("plain", "c=1", "p50"),
        1.6,
    ),
    Bar(
        "fused / plain, req/s at 32",
        lambda measured: measured("fused", "c=32", "rps") / measured("plain", "c=32", "rps"),
        0.65,
        True,
    ),
    Bar(
        "(graph - empty) / plain, p50 at 1",
        lambda measured: (
            (measured("graph", "c=1", "p50") - measured("empty", "c=1", "p50")) / measured("plain", "c=1", "p50")
        ),
        1.3,
    ),
    Bar(
        "graph / plain, req/s at 32",
        lambda measured: measured("graph", "c=32", "rps") / measured("plain", "c=32", "rps"),
        0.65,
        True,
    ),
    Bar(
        "graph / empty, req/s at 32",
        lambda measured: measured("graph", "c=32", "rps") / measured("empty", "c=32", "rps"),
        0.8,
        True,
    ),
    Bar("graph, p99 at 32", lambda measured: measured("graph", "c=32", "p99"), 250, unit="ms"),
    Bar(
        "errors of graph and fused",
        lambda measured: sum(
            measured(system, f"c={c}", "errors") for system in ("graph", "fused") for c in CONCURRENCIES
        ),
        0,
        unit="count",
    ),
    Bar("graph, memory of replicas", lambda measured: measured("graph", "all", "memory"), 1500, unit="MB"),
    Bar("graph, ready", lambda measured: measured("graph", "all", "ready"), 20, unit="s"),
)


# Measuring.


@contextmanager
def trained(registry: Path | None, quick: bool) -> Iterator[Path]:
    """The registry given, or a new one that is trained first."""
    if registry is not None:
        yield registry
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "train_job.py"), "--data", "synthetic:0.02" if quick else "synthetic:1"]
        command += ["--registry", f"{folder}/registry", "--work", f"{folder}/work"]
        with console.step("train"):
            ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RecsysError(f"train_job.py ended with exit code {ended.returncode}: {ended.stderr[-2000:]}")
        yield Path(folder) / "registry"


def measure(plan: Plan) -> Samples:
    """Values of every measure, one for each round."""
    samples: Samples = defaultdict(list)
    answers: dict[str, list[Any]] = {}
    paths = request_mix(plan.registry, plan.warm_share)
    for number in range(plan.rounds):
        for name in SYSTEMS if number % 2 == 0 else SYSTEMS[::-1]:
            with console.step(f"round {number + 1}: {name}"), up(name, plan, paths) as (system, script):
                answers[name] = [json.loads(system.get(path)) for path in paths[:SAME_ANSWERS]]
                measure_system(system, script, plan, samples)
    check_answers(answers)
    return samples


@contextmanager
def up(name: str, plan: Plan, paths: list[str]) -> Iterator[tuple[System, Path]]:
    """A warm system, and the script for its load."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        script = write_script(paths, folder / "load.lua")
        with running(name, plan.registry, folder) as system:
            run_wrk(script, system.port, max(CONCURRENCIES), plan.warm_up)
            yield system, script


def measure_system(system: System, script: Path, plan: Plan, samples: Samples) -> None:
    def note(setting: str, metric: str, value: float, unit: str) -> None:
        samples[system.name, setting, metric, unit].append(value)

    for concurrency in CONCURRENCIES:
        time.sleep(SETTLE_SECONDS)
        load, setting = run_wrk(script, system.port, concurrency, plan.seconds), f"c={concurrency}"
        for metric in ("p50", "p95", "p99"):
            note(setting, metric, getattr(load, metric), "ms")
        note(setting, "rps", load.throughput, "1/s")
        note(setting, "errors", load.errors, "count")
    memory, processes, everything = system.memory()
    note("all", "memory", memory / MEGABYTE, "MB")
    note("all", "memory of all", everything / MEGABYTE, "MB")
    note("all", "replicas", processes, "count")
    note("all", "ready", system.ready, "s")


def check_answers(answers: Mapping[str, list[Any]]) -> None:
    """Raises RecsysError where graph, fused and plain differ, or where `empty` recommends another number of items."""
    for name, found in answers.items():
        for ours, theirs in zip(found, answers["plain"], strict=True):
            same = ours == theirs if name != "empty" else length(ours) == length(theirs)
            if not same:
                raise RecsysError(f"{name} answers {ours}, plain answers {theirs}")


def length(answer: Any) -> int:
    return len(answer["recommendations"])


# Reporting.


def summarized(samples: Samples) -> list[Row]:
    """Flat rows: medians and, where rounds differ, the least and the largest; errors are summed."""
    rows = []
    for (system, setting, metric, unit), values in samples.items():
        middle = sum(values) if metric == "errors" else statistics.median(values)
        parts = {metric: middle} | ({f"{metric}_min": min(values), f"{metric}_max": max(values)} if values[1:] else {})
        rows += [row(system, setting, name, value, unit) for name, value in parts.items()]
    return rows


def row(system: str, setting: str, metric: str, value: float, unit: str) -> Row:
    return {"system": system, "setting": setting, "metric": metric, "value": round(value, 4), "unit": unit}


def bar_values(samples: Samples, rounds: int) -> list[tuple[Bar, float]]:
    """Each bar and its value: the median over the rounds, as the systems of a round ran close in time.

    Counts are summed.
    """
    by_round = {(system, setting, metric): values for (system, setting, metric, _), values in samples.items()}

    def measured_in(number: int) -> Callable[[str, str, str], float]:
        return lambda system, setting, metric: by_round[system, setting, metric][number]

    def value(bar: Bar) -> float:
        each = [bar.value(measured_in(number)) for number in range(rounds)]
        return sum(each) if bar.unit == "count" else statistics.median(each)

    return [(bar, value(bar)) for bar in BARS]


def print_report(rows: list[Row], verdicts: list[tuple[Bar, float]], title: str) -> None:
    values = {(line["system"], line["setting"], line["metric"]): line["value"] for line in rows}
    metrics = ["p50", "p95", "p99", "rps", "errors"]
    loads = [
        [system, f"c={c}", *(round(values[system, f"c={c}", metric], 2) for metric in metrics)]
        for c in CONCURRENCIES
        for system in SYSTEMS
    ]
    console.table(["system", "setting", "p50 ms", "p95 ms", "p99 ms", "req/s", "errors"], text_of(loads), title)
    metrics = ["memory", "replicas", "memory of all", "ready"]
    whole = [[system, *(round(values[system, "all", metric], 1) for metric in metrics)] for system in SYSTEMS]
    console.table(["system", "memory MB", "processes", "memory of all MB", "ready s"], text_of(whole))
    told = [
        [bar.name, f"{value:.2f}", f"{'>=' if bar.at_least else '<='} {bar.bar:g}", bar.unit, bar.met(value)]
        for bar, value in verdicts
    ]
    console.table(["measure", "found", "bar", "unit", "met"], told)


def text_of(lines: list[list[Any]]) -> list[list[Any]]:
    """Numbers as short as they are."""
    return [[f"{cell:,g}" if isinstance(cell, float) else cell for cell in line] for line in lines]


# Profiling.


def profile(plan: Plan) -> list[Row]:
    """Where the time of a request goes, and the processor time of each process."""
    rows: list[Row] = []
    with console.step("profile"), up("timed", plan, request_mix(plan.registry, plan.warm_share)) as (system, script):
        for concurrency in CONCURRENCIES:
            setting = f"c={concurrency}"
            time.sleep(SETTLE_SECONDS)
            system.get("/timings")  # forgets what came before
            before, wrk = system.cpu(), cpu_of_children()
            load = run_wrk(script, system.port, concurrency, plan.seconds)
            spent = {"wrk": cpu_of_children() - wrk, **since(before, system.cpu())}
            found = json.loads(system.get("/timings"))
            parts = breakdown(load, found)
            rows += [row("graph", setting, name, value, "ms") for name, value in parts.items()]
            rows.append(row("graph", setting, BATCH, found[BATCH], "count"))
            rows += [
                row("graph", setting, f"cpu of {owner}", 1000 * seconds / load.requests, "ms a request")
                for owner, seconds in spent.items()
            ]
        before, started = system.cpu(), time.monotonic()
        time.sleep(IDLE_SECONDS)
        idle = sum(since(before, system.cpu()).values()) / (time.monotonic() - started)
        rows.append(row("graph", "idle", "cpu of all", idle, "cores"))
    return rows


def since(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {owner: seconds - before.get(owner, 0.0) for owner, seconds in sorted(now.items())}


def cpu_of_children() -> float:
    """Seconds of processor time of children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def breakdown(load: Load, found: Mapping[str, float]) -> dict[str, float]:
    """Parts of a request's time in ms, means over requests; found: as the timed ingress tells.

    All but those in brackets add up to what wrk saw.
    """
    names = {"candidates": "{}", "rank": "{}", "factors": "({} meanwhile, where asked)"}
    parts = {
        "HTTP: sockets, HAProxy, uvicorn": load.mean - found["application"],
        "FastAPI: routing, validation, JSON": found["application"] - found["service"],
        "waiting for a batch": found["service"] - found["batch"],
        "ingress: user lookup, histories, answers": found["batch"] - found["stages"],
    }
    for stage, name in names.items():
        if stage not in found:  # nobody was asked: at 1 the ingress folds in
            continue
        compute = found[f"{stage} compute"]
        parts[name.format(f"{stage}: compute")] = compute
        parts[name.format(f"{stage}: hop")] = found[stage] - compute
    parts["ingress: blend, select"] = found["stages"] - found["candidates"] - found["rank"]
    return parts | {"all, as the client sees it": load.mean}


def print_profile(rows: list[Row], title: str) -> None:
    """One column for each concurrency."""
    settings = [f"c={c}" for c in CONCURRENCIES]
    values = {(line["setting"], line["metric"]): line["value"] for line in rows}
    tables = (
        ("ms", "part of a request, ms"),
        ("ms a request", "processor time of a request, ms"),
        ("count", "stages"),
    )
    for unit, what in tables:
        names = list(dict.fromkeys(line["metric"] for line in rows if line["unit"] == unit))
        cells = [
            [name, *(f"{values[s, name]:.2f}" if (s, name) in values else None for s in settings)] for name in names
        ]
        console.table([what, *settings], cells, title)
    console.line(f"idle: {values['idle', 'cpu of all']:.2f} cores for all processes, of Ray too")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--registry", type=Path, help="a trained one; default: trains synthetic:1")
    parser.add_argument("--quick", action="store_true", help="synthetic:0.02, one round, two seconds a measurement")
    parser.add_argument("--profile", action="store_true", help="where a request's time goes, instead")
    parser.add_argument("--rounds", type=int, help="default: 3, with --quick 1")
    parser.add_argument("--seconds", type=float, help="of each measurement; default: 5, with --quick 2")
    parser.add_argument("--warm-share", type=float, default=0.7, help="of requests, for warm users")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    check_wrk()
    with trained(options.registry, options.quick) as registry:
        seconds = options.seconds or (2 if options.quick else 5)
        rounds = options.rounds or (1 if options.quick else 3)
        plan = Plan(registry, rounds, seconds, 2 if options.quick else 5, options.warm_share)
        if options.profile:
            rows = profile(plan)
            print_profile(rows, f"graph, {options.warm_share:.0%} of requests for warm users")
        else:
            samples = measure(plan)
            rows, verdicts = summarized(samples), bar_values(samples, rounds)
            rows += [
                row("bars", "met" if bar.met(value) else "missed", bar.name, value, bar.unit) for bar, value in verdicts
            ]
            print_report(rows, verdicts, f"medians of {rounds} rounds of {seconds:g} s")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    arguments = parse()
    sys.exit(console.guarded(lambda: run(arguments)))
