"""The service under load: as a Ray Serve graph, fused, without Serve, and as a graph that does no work.

    python benchmarks/serving.py [--quick] [--registry FOLDER] [--rounds N] [--profile|--explain|--rules] [--json FILE]

Systems, over the same version and the same HTTP routes:

- graph: every stage is a Serve deployment, one replica each;
- fused: all stages in one Serve deployment, one replica;
- plain: one process of FastAPI and uvicorn without Serve; it calls the stages itself, without batches;
- empty: the graph with its ingress and its batches, but stages that return ready arrays of the usual size. The ingress
  still computes its own part: blending, and the fold-in of single users.

Only one system runs at a time: it starts with its own Ray cluster, is warmed up, measured at each concurrency, and
stopped. A round does this for all systems. The next round uses the opposite order, so that changes in the machine's
speed affect all systems alike. wrk makes the load on the same machine: a fixed random mix of warm and cold users. The
table shows medians over the rounds, and sums of errors. The JSON also has the smallest and the largest value
(`p50_min`, `p50_max`). All ratios are medians over the rounds.

Graph and fused also get sessions without a user (POST /recommend) at each of SESSION_CONCURRENCIES, right after the
users' requests at the same concurrency: the newest events of the same users.

Memory is the proportional set size of all replicas after the load; shared pages count once. `memory of all` includes
Ray's own processes and HAProxy. `ready` is the time from a running Ray until /health answers 200.

With --profile it shows instead how the time of a request is divided between the parts of the graph, and how much
processor time each process spends on a request.

With --explain it compares requests with `explain=true` to the same requests without it, for lists of 5 and of 50 items.
The two loads follow each other, and the ratio is the median over the rounds. With --rules it compares in the same way
requests under a file of 1,000 rules to requests with `rules_file=false`.
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

from serving_parts.comparison import (  # noqa: E402
    EXPLANATIONS,
    RULES_FILE,
    Comparison,
    metrics_of,
    print_comparison,
    write_rules,
)
from serving_parts.load import Load, check_wrk, request_mix, run_wrk, session_mix, write_script  # noqa: E402
from serving_parts.processes import System, running  # noqa: E402

from recsys import console  # noqa: E402
from recsys.errors import RecsysError  # noqa: E402

SYSTEMS: Final = ("graph", "empty", "plain", "fused")
"""In the order of measurement; the next round reverses it. Systems that are compared by a bar are neighbours."""
CONCURRENCIES: Final = (1, 8, 32)
SESSION_CONCURRENCIES: Final = (1, 32)
WITH_SESSIONS: Final = ("graph", "fused")
"""Systems that get sessions too."""
SAME_ANSWERS: Final = 20
"""Number of requests whose responses from graph, fused and plain are compared."""
MEGABYTE: Final = 1e6
IDLE_SECONDS: Final = 5.0
BATCH: Final = "requests in a batch"
SETTLE_SECONDS: Final = 2.5
"""Longer than the service's deadline, so that the last requests of a load have ended."""

COMPARED: Final = ("graph", "fused")
"""Systems in which requests with a parameter are compared to those without."""

Key = tuple[str, str, str, str]
"""system, setting, metric, unit"""
Measured = Callable[[str, str, str], float]
"""The value of a system, setting and metric."""
Samples = dict[Key, list[float]]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """The registry, the number of rounds, the seconds of a measurement and of a warm-up, and the mix of users.

    warm_share: fraction of the requests that are for warm users
    rules: the rules file of the service; None for none
    """

    registry: Path
    rounds: int
    seconds: float
    warm_up: float
    warm_share: float
    rules: Path | None = None


@dataclass(frozen=True, slots=True)
class Scripts:
    """Scripts of wrk: requests of users, and of sessions where the system gets any."""

    users: Path
    sessions: Path | None


@dataclass(frozen=True, slots=True)
class Bar:
    """A measure with a limit.

    value: from a function (system, setting, metric) -> number
    bar: the highest allowed value, or with `at_least` the lowest
    """

    name: str
    value: Callable[[Measured], float]
    bar: float
    at_least: bool = False
    unit: str = "ratio"

    def met(self, value: float) -> bool:
        return value >= self.bar if self.at_least else value <= self.bar


SETTINGS: Final = (
    *(f"c={c}" for c in CONCURRENCIES),
    *(f"c={c}, sessions" for c in SESSION_CONCURRENCIES),
)
"""Loads of the systems with sessions."""


def sessions_by_users(system: str, concurrency: int, metric: str) -> Callable[[Measured], float]:
    """The value of a bar: a metric of session requests divided by that of users' requests."""
    setting = f"c={concurrency}"
    return lambda measured: measured(system, f"{setting}, sessions", metric) / measured(system, setting, metric)


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
    *(
        Bar(f"{system}, sessions / users, req/s at 32", sessions_by_users(system, 32, "rps"), 0.75, True)
        for system in WITH_SESSIONS
    ),
    *(
        Bar(f"{system}, sessions / users, p50 at 1", sessions_by_users(system, 1, "p50"), 1.3)
        for system in WITH_SESSIONS
    ),
    Bar("graph, p99 at 32", lambda measured: measured("graph", "c=32", "p99"), 250, unit="ms"),
    Bar(
        "errors of graph and fused",
        lambda measured: sum(measured(system, setting, "errors") for system in WITH_SESSIONS for setting in SETTINGS),
        0,
        unit="count",
    ),
    Bar("graph, memory of replicas", lambda measured: measured("graph", "all", "memory"), 1500, unit="MB"),
    Bar("graph, ready", lambda measured: measured("graph", "all", "ready"), 20, unit="s"),
)


# Measuring.


@contextmanager
def trained(registry: Path | None, quick: bool) -> Iterator[Path]:
    """The given registry, or a new one with a version that is trained first."""
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
    paths, bodies = request_mix(plan.registry, plan.warm_share), session_mix(plan.registry, plan.warm_share)
    for number in range(plan.rounds):
        for name in SYSTEMS if number % 2 == 0 else SYSTEMS[::-1]:
            with console.step(f"round {number + 1}: {name}"), up(name, plan, paths, bodies) as (system, scripts):
                answers[name] = [json.loads(system.get(path)) for path in paths[:SAME_ANSWERS]]
                measure_system(system, scripts, plan, samples)
    check_answers(answers)
    return samples


@contextmanager
def up(name: str, plan: Plan, paths: list[str], bodies: list[str]) -> Iterator[tuple[System, Scripts]]:
    """A system that is warmed up, and the scripts for its load."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        scripts = Scripts(
            write_script(paths, folder / "users.lua"),
            write_script(bodies, folder / "sessions.lua") if bodies and name in WITH_SESSIONS else None,
        )
        with running(name, plan.registry, folder, plan.rules) as system:
            for script in filter(None, (scripts.users, scripts.sessions)):
                run_wrk(script, system.port, max(CONCURRENCIES), plan.warm_up)
            yield system, scripts


def measure_system(system: System, scripts: Scripts, plan: Plan, samples: Samples) -> None:
    def note(setting: str, metric: str, value: float, unit: str) -> None:
        samples[system.name, setting, metric, unit].append(value)

    loads = [(scripts.users, concurrency, f"c={concurrency}") for concurrency in CONCURRENCIES]
    if scripts.sessions is not None:
        loads += [(scripts.sessions, c, f"c={c}, sessions") for c in SESSION_CONCURRENCIES]
    for script, concurrency, setting in sorted(loads, key=lambda one: one[1]):
        time.sleep(SETTLE_SECONDS)
        load = run_wrk(script, system.port, concurrency, plan.seconds)
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
    """Raises RecsysError if graph, fused and plain differ, or if `empty` recommends another number of items."""
    for name, responses in answers.items():
        for ours, theirs in zip(responses, answers["plain"], strict=True):
            same = ours == theirs if name != "empty" else length(ours) == length(theirs)
            if not same:
                raise RecsysError(f"{name} answers {ours}, plain answers {theirs}")


def length(answer: Any) -> int:
    return len(answer["recommendations"])


# Reporting.


def summarized(samples: Samples) -> list[Row]:
    """Flat rows: medians and, with several rounds, the smallest and the largest value; errors are added up."""
    rows = []
    for (system, setting, metric, unit), values in samples.items():
        middle = sum(values) if metric == "errors" else statistics.median(values)
        parts = {metric: middle} | ({f"{metric}_min": min(values), f"{metric}_max": max(values)} if values[1:] else {})
        rows += [row(system, setting, name, value, unit) for name, value in parts.items()]
    return rows


def row(system: str, setting: str, metric: str, value: float, unit: str) -> Row:
    return {"system": system, "setting": setting, "metric": metric, "value": round(value, 4), "unit": unit}


def bar_values(samples: Samples, rounds: int) -> list[tuple[Bar, float]]:
    """Each bar and its value: the median over the rounds, since the systems of a round ran close in time.

    Counts are added up.
    """
    by_round = {(system, setting, metric): values for (system, setting, metric, _), values in samples.items()}

    def measured_in(number: int) -> Measured:
        return lambda system, setting, metric: by_round[system, setting, metric][number]

    def value(bar: Bar) -> float:
        each = [bar.value(measured_in(number)) for number in range(rounds)]
        return sum(each) if bar.unit == "count" else statistics.median(each)

    return [(bar, value(bar)) for bar in BARS]


def print_report(rows: list[Row], verdicts: list[tuple[Bar, float]], title: str) -> None:
    values = {(line["system"], line["setting"], line["metric"]): line["value"] for line in rows}
    metrics = ["p50", "p95", "p99", "rps", "errors"]
    loads = [
        [system, setting, *(round(values[system, setting, metric], 2) for metric in metrics)]
        for setting in SETTINGS
        for system in SYSTEMS
        if (system, setting, "rps") in values
    ]
    console.table(["system", "setting", "p50 ms", "p95 ms", "p99 ms", "req/s", "errors"], text_of(loads), title)
    metrics = ["memory", "replicas", "memory of all", "ready"]
    whole = [[system, *(round(values[system, "all", metric], 1) for metric in metrics)] for system in SYSTEMS]
    console.table(["system", "memory MB", "processes", "memory of all MB", "ready s"], text_of(whole))
    bars = [
        [bar.name, f"{value:.2f}", f"{'>=' if bar.at_least else '<='} {bar.bar:g}", bar.unit, bar.met(value)]
        for bar, value in verdicts
    ]
    console.table(["measure", "value", "bar", "unit", "met"], bars)


def text_of(lines: list[list[Any]]) -> list[list[Any]]:
    """The cells as text; numbers have no unneeded digits."""
    return [[f"{cell:,g}" if isinstance(cell, float) else cell for cell in line] for line in lines]


# Profiling.


def profile(plan: Plan) -> list[Row]:
    """Rows of the time of each part of a request, and of the processor time of each process."""
    rows: list[Row] = []
    with (
        console.step("profile"),
        up("timed", plan, request_mix(plan.registry, plan.warm_share), []) as (system, scripts),
    ):
        for concurrency in CONCURRENCIES:
            setting = f"c={concurrency}"
            time.sleep(SETTLE_SECONDS)
            system.get("/timings")  # resets the timings
            before, wrk = system.cpu(), cpu_of_children()
            load = run_wrk(scripts.users, system.port, concurrency, plan.seconds)
            spent = {"wrk": cpu_of_children() - wrk, **since(before, system.cpu())}
            timings = json.loads(system.get("/timings"))
            parts = breakdown(load, timings)
            rows += [row("graph", setting, name, value, "ms") for name, value in parts.items()]
            rows.append(row("graph", setting, BATCH, timings[BATCH], "count"))
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


def breakdown(load: Load, timings: Mapping[str, float]) -> dict[str, float]:
    """Parts of a request's time in ms, means over requests; timings: from the timed ingress.

    All parts, except those in brackets, add up to the time that wrk measured.
    """
    names = {"candidates": "{}", "rank": "{}", "factors": "({} at the same time, if called)"}
    parts = {
        "HTTP: sockets, HAProxy, uvicorn": load.mean - timings["application"],
        "FastAPI: routing, validation, JSON": timings["application"] - timings["service"],
        "waiting for a batch": timings["service"] - timings["batch"],
        "ingress: user lookup, histories, responses": timings["batch"] - timings["stages"],
    }
    for stage, name in names.items():
        if stage not in timings:  # not called: at concurrency 1 the ingress folds in itself
            continue
        compute = timings[f"{stage} compute"]
        parts[name.format(f"{stage}: compute")] = compute
        parts[name.format(f"{stage}: hop")] = timings[stage] - compute
    parts["ingress: blend, best items"] = timings["stages"] - timings["candidates"] - timings["rank"]
    return parts | {"all, measured by the client": load.mean}


def print_profile(rows: list[Row], title: str) -> None:
    """Print the profile, with a column for each concurrency."""
    settings = [f"c={c}" for c in CONCURRENCIES]
    values = {(line["setting"], line["metric"]): line["value"] for line in rows}
    tables = (
        ("ms", "part of a request, ms"),
        ("ms a request", "processor time of a request, ms"),
        ("count", "stages"),
    )
    for unit, head in tables:
        names = list(dict.fromkeys(line["metric"] for line in rows if line["unit"] == unit))
        cells = [
            [name, *(f"{values[s, name]:.2f}" if (s, name) in values else None for s in settings)] for name in names
        ]
        console.table([head, *settings], cells, title)
    console.line(f"idle: {values['idle', 'cpu of all']:.2f} cores for all processes, including Ray's")


# Requests with a parameter and without.


def compared(plan: Plan, comparison: Comparison) -> Samples:
    """Values of requests with and without a parameter, one for each round."""
    samples: Samples = defaultdict(list)
    mix = request_mix(plan.registry, plan.warm_share)
    for number in range(plan.rounds):
        for name in COMPARED:
            with console.step(f"round {number + 1}: {name}"), up(name, plan, mix, []) as (system, scripts):
                for n, concurrency in comparison.settings():
                    loads = []
                    for on in (False, True):
                        write_script(comparison.paths(mix, n, on=on), scripts.users)
                        run_wrk(scripts.users, system.port, concurrency, 1)
                        time.sleep(SETTLE_SECONDS)
                        loads.append(run_wrk(scripts.users, system.port, concurrency, plan.seconds))
                    for metric, value, unit in metrics_of(*loads):
                        samples[name, f"n={n} c={concurrency}", metric, unit].append(value)
    return samples


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--registry", type=Path, help="registry with a trained version; default: train synthetic:1")
    parser.add_argument("--quick", action="store_true", help="synthetic:0.02, one round, two seconds a measurement")
    parser.add_argument("--profile", action="store_true", help="show the parts of a request's time instead")
    parser.add_argument("--explain", action="store_true", help="compare requests with and without explanations instead")
    parser.add_argument("--rules", action="store_true", help="compare requests with and without 1,000 rules instead")
    parser.add_argument("--rounds", type=int, help="default: 3, with --quick 1")
    parser.add_argument("--seconds", type=float, help="seconds of each measurement; default: 5, with --quick 2")
    parser.add_argument("--warm-share", type=float, default=0.7, help="fraction of requests for warm users")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    check_wrk()
    with trained(options.registry, options.quick) as registry, tempfile.TemporaryDirectory() as folder:
        seconds = options.seconds or (2 if options.quick else 5)
        rounds = options.rounds or (1 if options.quick else 3)
        rules = write_rules(registry, Path(folder) / "rules.yaml") if options.rules else None
        plan = Plan(registry, rounds, seconds, 2 if options.quick else 5, options.warm_share, rules)
        comparison = RULES_FILE if options.rules else EXPLANATIONS if options.explain else None
        if options.profile:
            rows = profile(plan)
            print_profile(rows, f"graph, {options.warm_share:.0%} of requests for warm users")
        elif comparison is not None:
            rows = summarized(compared(plan, comparison))
            print_comparison(rows, comparison, f"medians of {rounds} rounds of {seconds:g} s")
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
