"""Sweeps against a grid in one process: time to the same quality, and memory by the number of trials.

    python benchmarks/tuning.py [--quick] [--data SOURCE] [--set section.key=value …] [--work FOLDER] [--json FILE]

Raw files, tables and the ranker's rows are made once and kept in a folder. Every system starts from this folder in
processes of its own. Its time is measured from the start of the first process.

- grid: a loop as one would write it with scikit-learn: 16 fits one after another, each from the raw rows, by LightGBM
  with two threads and the same early stopping, with the same alpha curve on the same validation rows;
- sweep grid: the same 16 points through Ray Tune, two trials at a time with one thread each, ASHA;
- sweep optuna: 16 proposals in the same ranges.

`time to the best of the grid` is the time until the first finished trial is within 0.001 of the grid's best validation
NDCG@10. For the grid itself it is the time of all fits, since its best is not known earlier.

Memory is the proportional set size: a page that n processes share counts as 1/n in each. `trial processes` is the
largest sum over the trials' processes, minus the memory of as many idle processes of Ray. `all` is the sum over all
processes.

Workers: the same number of trees on the same rows, by one worker in this process and by two workers through Ray, each
with one thread. The time goes from the call to the finished ranker, so it includes the start of the workers and the
transfer of the rows.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import psutil
import ray

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from training import memory_of_each  # noqa: E402

from recsys import console  # noqa: E402
from recsys.cluster import start_ray  # noqa: E402
from recsys.config import TrainConfig, changed, load_config  # noqa: E402
from recsys.data.ingest import ingest  # noqa: E402
from recsys.data.sources import resolve  # noqa: E402
from recsys.evaluation.metrics import Truth  # noqa: E402
from recsys.models.blend import Calibration  # noqa: E402
from recsys.models.rankers.registry import RANKERS  # noqa: E402
from recsys.models.rankers.rows import RankingData  # noqa: E402
from recsys.schema import DAY  # noqa: E402
from recsys.timeline import Cut  # noqa: E402
from recsys.training.context import Context  # noqa: E402
from recsys.training.distributed.launch import fit_ranker  # noqa: E402
from recsys.training.plan import Plan  # noqa: E402
from recsys.training.preparation import RankerInputs, build_inputs  # noqa: E402
from recsys.training.ranker import fit_smallest  # noqa: E402
from recsys.training.sweep.config import SweepConfig  # noqa: E402
from recsys.training.sweep.search import search  # noqa: E402
from recsys.training.validation import Validation, choose_blend, training_set  # noqa: E402

RATES: Final = (0.03, 0.06, 0.12, 0.24)
LEAVES: Final = (7, 15, 31, 63)
WITHIN: Final = 0.001
GRID: Final = {"ranker.learning_rate": list(RATES), "ranker.num_leaves": list(LEAVES)}
RANGES: Final = {
    "ranker.learning_rate": {"low": RATES[0], "high": RATES[-1], "log": True},
    "ranker.num_leaves": {"low": LEAVES[0], "high": LEAVES[-1], "log": True},
}
LARGE: Final = ("examples.cuts=8", "examples.step_days=7", "examples.negatives=119", "examples.max_users=100000")
"""More rows than a model needs, so that copies of the rows would be visible."""
LARGE_BYTES: Final = 500_000_000
"""Size of the rows in the measurement of memory; the rows are repeated until they have it."""
FEW_TREES: Final = "ranker.max_trees=20"
"""For the measurement of memory, which does not grow with the trees."""
SWEEPS: Final = {
    "sweep grid": {"search": GRID, "searcher": "grid", "concurrency": 2},
    "sweep optuna": {"search": RANGES, "trials": 16, "concurrency": 2},
    "2 trials, one at a time": {"search": RANGES, "trials": 2, "concurrency": 1, "scheduler": "none"},
    "16 trials, one at a time": {"search": RANGES, "trials": 16, "concurrency": 1, "scheduler": "none"},
    "2 trials, two at a time": {"search": RANGES, "trials": 2, "concurrency": 2, "scheduler": "none"},
}
WORKERS: Final[dict[str, tuple[str, int]]] = {
    f"{backend}, workers: {n}": (backend, n) for backend in RANKERS.names for n in (1, 2)
}
WORKER_TREES: Final = 100
SAMPLE_SECONDS: Final = 0.25
IDLE: Final = "ray::IDLE"
TRIAL: Final = ("ray::ImplicitFunc", "ray::run_trial")
MEGABYTE: Final = 1e6


# The shared rows on disk. Only this benchmark reads them, so NumPy's plain format is enough.


def save(folder: Path, inputs: RankerInputs) -> int:
    """Write the data that every system starts from; returns the size of the training rows in bytes."""
    validation, size = ray.get(inputs.validation), 0
    for cut, rows in zip(inputs.plan.train, inputs.rows(inputs.plan.train), strict=True):
        np.savez(folder / f"rows-{cut.age}.npz", features=rows.features, labels=rows.labels, groups=rows.groups)
        size += rows.features.nbytes
    candidates, cases = validation.candidates, validation.cases
    np.savez(
        folder / "validation.npz",
        features=validation.rows.features,
        labels=validation.rows.labels,
        groups=validation.rows.groups,
        weights=np.asarray(validation.rows.weights),
        users=candidates.users,
        items=candidates.items,
        mf=candidates.mf,
        truth_offsets=cases.truth.offsets,
        truth_items=cases.truth.items,
    )
    ages = {"train": [cut.age for cut in inputs.plan.train], "mf": validation.mf.model_dump()}
    (folder / "plan.json").write_text(json.dumps(ages), encoding="utf-8")
    return size


def load(folder: Path) -> tuple[list[RankingData], Any]:
    """The training rows of each cut, and the validation rows."""
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    parts = []
    for age in plan["train"]:
        with np.load(folder / f"rows-{age}.npz") as arrays:
            parts.append(RankingData(arrays["features"], arrays["labels"], arrays["groups"]))
    with np.load(folder / "validation.npz") as arrays:
        rows = RankingData(arrays["features"], arrays["labels"], arrays["groups"], arrays["weights"])
        truth = Truth(arrays["truth_offsets"], arrays["truth_items"])
        candidates: Any = SimpleNamespace(users=arrays["users"], items=arrays["items"], mf=arrays["mf"])
    cases: Any = Cases(truth)
    return parts, Validation(cases, candidates, rows, Calibration.model_validate(plan["mf"]))


class Cases:
    """The part of the test cases that a selection needs."""

    def __init__(self, truth: Any) -> None:
        self.truth = truth

    def __len__(self) -> int:
        return len(self.truth)


# The systems, each in a process of its own. They print lines of JSON on stdout.


def run_grid(folder: Path, config: TrainConfig) -> None:
    parts, validation = load(folder)
    for rate in RATES:
        for leaves in LEAVES:
            point = {"ranker.learning_rate": rate, "ranker.num_leaves": leaves, "ranker.threads": 2}
            data = training_set(parts, validation.rows, config.inference.features)
            fitted = fit_smallest(data, validation, changed(config, point), folder)
            blend, curves = choose_blend(validation, fitted.scores, config)
            emit(metric=curves.all_items[blend.alpha], at=time.time(), trees=fitted.ranker.n_trees, point=point)


def run_sweep(folder: Path, config: TrainConfig, sweep: SweepConfig, work: Path, copies: int) -> None:
    start_ray()
    parts, validation = load(folder)
    parts *= copies
    newest, *cuts = (Cut.at(365 * DAY, age) for age in range(len(parts) + 1))
    plan = Plan(1, tuple(cuts), None, newest, newest, (), newest)
    examples = {cut: ray.put(part) for cut, part in zip(cuts, parts, strict=True)}
    del parts
    inputs = RankerInputs(plan, {}, examples, ray.put(validation))
    shop: Any = SimpleNamespace(fingerprint="benchmark", start=0, end=365 * DAY)
    swept = search(Context(shop, plan, config, str(work)), inputs, sweep, resume=False)
    for trial in swept.trials:
        emit(metric=trial.metric, at=trial.ended, trees=trial.trees, point=dict(trial.settings), status=trial.status)


def run_workers(folder: Path, config: TrainConfig, backend: str, n_workers: int) -> None:
    start_ray()
    parts, validation = load(folder)
    data = training_set(parts, validation.rows, config.inference.features)
    ranker = config.ranker.model_copy(update={"backend": backend, "num_workers": n_workers, "threads": 1})
    began = time.time()
    fit_ranker(data, ranker, n_trees=WORKER_TREES, work=folder)
    emit(rows=data.n_rows * WORKER_TREES, seconds=time.time() - began)


def emit(**fields: Any) -> None:
    console.line(json.dumps(fields))


class Memory(threading.Thread):
    """Samples the proportional set sizes of a process and its descendants until `stop` is called."""

    def __init__(self, root: int) -> None:
        super().__init__()
        self._root, self._over = psutil.Process(root), threading.Event()
        self.trials, self.everything, self.idle = 0, 0, 0

    def run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            trials = everything = 0
            idle = []
            try:
                for command, size in memory_of_each(self._root):
                    everything += size
                    if command.startswith(TRIAL):
                        trials += size
                    elif command.startswith(IDLE):
                        idle.append(size)
            except psutil.NoSuchProcess:
                return
            self.trials, self.everything = max(self.trials, trials), max(self.everything, everything)
            self.idle = max(self.idle, *idle, 0)

    def stop(self) -> None:
        self._over.set()
        self.join()


def measure(
    name: str, folder: Path, settings: list[str], copies: int = 1
) -> tuple[float, float, list[dict[str, Any]], Memory]:
    """Run a system; its start (seconds since 1970), its seconds, its lines of output, and its memory."""
    began = time.time()
    command = [sys.executable, __file__, "--child", name, "--work", str(folder), "--copies", str(copies)]
    command += [part for setting in settings for part in ("--set", setting)]
    with console.step(name), subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        memory = Memory(child.pid)
        memory.start()
        try:
            lines = [json.loads(line) for line in child.stdout or () if line.startswith("{")]
            code = child.wait()
        finally:
            memory.stop()
    if code:
        raise SystemExit(f"{name} ended with exit code {code}")
    return began, time.time() - began, lines, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="synthetic:0.1 and few rows")
    parser.add_argument("--data", default="synthetic:1")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--work", type=Path, help="keep raw files and rows here; default: a temporary folder")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--copies", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=["time", "memory", "workers"], help="measure only this part; default: all")
    options = parser.parse_args()
    base = [] if options.quick else list(LARGE)
    config = load_config(None, [*base, "ranker.threads=1", *options.settings])
    if options.child == "grid":
        run_grid(options.work / "rows", config)
    elif options.child in WORKERS:
        run_workers(options.work / "rows", config, *WORKERS[options.child])
    elif options.child:
        sweep = SweepConfig.model_validate(SWEEPS[options.child] | {"beyond_chance": False})  # as the grid does
        run_sweep(options.work / "rows", config, sweep, options.work, options.copies)
    else:
        with tempfile.TemporaryDirectory() as folder:
            work = options.work or Path(folder)
            size = make_rows(work, "synthetic:0.1" if options.quick else options.data, config)
            settings = [*base, *options.settings]
            copies = 1 if options.quick else -(-LARGE_BYTES // size)
            rows = []
            if options.part in (None, "time"):
                rows += compare(work, settings)
            if options.part in (None, "memory"):
                rows += memories(work, settings, size, copies)
            if options.part in (None, "workers"):
                rows += workers(work, settings)
        console.table(["system", "setting", "metric", "value", "unit"], [list(row.values()) for row in rows])
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def make_rows(work: Path, data: str, config: TrainConfig) -> int:
    """Make the rows that every system learns from, unless work/rows has them; returns their size in bytes."""
    rows = work / "rows"
    size = rows / "size"
    if not size.exists():
        rows.mkdir(parents=True, exist_ok=True)
        source = resolve(data, work)
        start_ray()
        shop = ingest(source, config.data, int(time.time() * 1000), work / "quarantine.parquet")
        size.write_text(str(save(rows, build_inputs(Context.create(shop, config, work)))), encoding="utf-8")
        ray.shutdown()
    return int(size.read_text(encoding="utf-8"))


def compare(work: Path, settings: list[str]) -> list[dict[str, Any]]:
    _, grid_seconds, points, _ = measure("grid", work, settings)
    best = max(point["metric"] for point in points)
    rows = [row("grid", "16 points", "time to the best of the grid", grid_seconds, "s")]
    rows.append(row("grid", "16 points", "ndcg@10", best, ""))
    for name in ("sweep grid", "sweep optuna"):
        began, seconds, trials, _ = measure(name, work, settings)
        ended = [t["at"] - began for t in trials if t["status"] == "finished" and t["metric"] >= best - WITHIN]
        first = min(ended, default=math.nan)
        rows.append(row(name, "16 trials", "time to the best of the grid", first, "s"))
        rows.append(row(name, "16 trials", "time of the whole sweep", seconds, "s"))
        rows.append(row(name, "16 trials", "fraction of the grid's time", first / grid_seconds, "ratio"))
        rows.append(row(name, "16 trials", "ndcg@10", max(t["metric"] or 0 for t in trials), ""))
    return rows


def memories(work: Path, settings: list[str], size: int, copies: int) -> list[dict[str, Any]]:
    rows = [row("examples", "training rows", "size", copies * size / MEGABYTE, "MB")]
    sizes = {}
    for name in ("2 trials, one at a time", "16 trials, one at a time", "2 trials, two at a time"):
        _, _, _, memory = measure(name, work, [*settings, FEW_TREES], copies)
        processes = 2 if name.endswith("two at a time") else 1
        sizes[name] = memory.trials - processes * memory.idle
        rows.append(row("sweep", name, "trial processes", sizes[name] / MEGABYTE, "MB"))
        rows.append(row("sweep", name, "all", memory.everything / MEGABYTE, "MB"))
        sizes[f"{name} all"] = memory.everything
    two, sixteen, both = (f"{name} all" for name in list(sizes)[::2])
    rows.append(row("sweep", "16 trials / 2 trials", "all", sizes[sixteen] / sizes[two], "ratio"))
    added = sizes["2 trials, two at a time"] - sizes["2 trials, one at a time"]
    rows.append(row("sweep", "second trial at a time", "trial processes added", added / MEGABYTE, "MB"))
    rows.append(row("sweep", "second trial at a time", "all added", (sizes[both] - sizes[two]) / MEGABYTE, "MB"))
    return rows


def workers(work: Path, settings: list[str]) -> list[dict[str, Any]]:
    rows = []
    for name in WORKERS:
        _, _, [training], _ = measure(name, work, settings)
        rate = training["rows"] / training["seconds"] / 1e6
        rows.append(row(name, f"{WORKER_TREES} trees", "time", training["seconds"], "s"))
        rows.append(row(name, f"{WORKER_TREES} trees", "rows by trees", rate, "million/s"))
    return rows


def row(system: str, setting: str, metric: str, value: float, unit: str) -> dict[str, Any]:
    return {"system": system, "setting": setting, "metric": metric, "value": round(value, 4), "unit": unit}


if __name__ == "__main__":
    main()
