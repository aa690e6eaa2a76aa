"""Time and memory of a whole training run, by step: `python benchmarks/training.py [--data synthetic:1] [--json FILE]`.

Raw files are made before the clock starts. Memory is the proportional set size of the job and all its processes
(including Ray's), sampled twice a second; shared pages count once.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recsys import console  # noqa: E402
from recsys.data.sources import resolve  # noqa: E402
from recsys.registry.folder import FolderStore  # noqa: E402

STEP = re.compile(r"^\d\d:\d\d:\d\d (.*) (?:took) ([0-9.]+) s")
GIGABYTE = 1e9


def memory_of_each(root: psutil.Process) -> Iterator[tuple[str, int]]:
    """Command and proportional set size in bytes of a process and of each descendant; ended descendants are left out.

    Raises psutil.NoSuchProcess if `root` itself has ended.
    """
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            yield " ".join(process.cmdline()), process.memory_full_info().pss


def proportional_memory(root: psutil.Process) -> int:
    """Bytes of a process and its descendants; raises as `memory_of_each` does."""
    return sum(size for _, size in memory_of_each(root))


def sample(root: psutil.Process, peaks: list[int], done: threading.Event) -> None:
    """Keep the largest sample of the current step, in bytes, as the last element of `peaks`."""
    while not done.wait(0.5):
        try:
            peaks[-1] = max(peaks[-1], proportional_memory(root))
        except psutil.NoSuchProcess:
            return


def measure(data: str, registry: Path, work: Path, settings: list[str]) -> list[dict[str, Any]]:
    """Rows of the report for one run of train_job.py."""
    command = [sys.executable, str(ROOT / "train_job.py"), "--data", data, "--registry", str(registry)]
    command += ["--work", str(work), *(part for setting in settings for part in ("--set", setting))]
    started = time.monotonic()
    job = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    peaks, steps, done = [0], [("start", 0.0)], threading.Event()
    watcher = threading.Thread(target=sample, args=(psutil.Process(job.pid), peaks, done))
    watcher.start()
    for line in job.stderr or ():
        print(line, end="", file=sys.stderr)
        if match := STEP.match(line):
            steps.append((match[1], float(match[2])))
            peaks.append(0)
    code = job.wait()
    seconds = time.monotonic() - started
    done.set()
    watcher.join()
    if code:
        raise SystemExit(f"train_job.py ended with exit code {code}")
    version = FolderStore(registry).path()
    size = sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
    rows = [(name, "time", spent, "s") for name, spent in steps[1:]]
    # The peak of a step was collected until the step's line was printed.
    rows += [(name, "peak memory", peak / GIGABYTE, "GB") for (name, _), peak in zip(steps[1:], peaks, strict=False)]
    rows += [("all", "time", seconds, "s"), ("all", "peak memory", max(peaks) / GIGABYTE, "GB")]
    rows.append(("bundle", "size", size / 1e6, "MB"))
    return [
        {"system": "train_job", "setting": name, "metric": metric, "value": round(value, 3), "unit": unit}
        for name, metric, value, unit in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="synthetic:1")
    parser.add_argument("--quick", action="store_true", help="synthetic:0.05")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", type=Path, help="keep raw files here; default: a temporary folder")
    parser.add_argument("--registry", type=Path, help="keep the version here; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        data = "synthetic:0.05" if options.quick else options.data
        with console.step("make or find the raw files"):
            resolve(data, work)
        rows = measure(data, options.registry or Path(folder) / "registry", work, options.settings)
    console.table(["step", "metric", "value", "unit"], [list(row.values())[1:] for row in rows], data)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
