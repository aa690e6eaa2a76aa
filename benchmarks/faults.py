"""Faults of a running service: what fails, and for how long.

    python benchmarks/faults.py [--only TEXT]… [--together] [--load] [--checkout FOLDER] [--registry FOLDER] [--json F]

Each fault starts the service of a checkout by `serve_app.py`, breaks one thing under a load of eight clients that
compare every answer with the one from before, and prints how many requests failed, and the seconds until all answers
were right again. Without --registry, a model of the synthetic shop is trained first. A second registry of the same
model, under another name, is for the fault of two services on a host.

--together makes four of the faults one after another, with three starts in all: for the tests.

--load measures instead how many right answers a second come back at 64, 512 and 1,000 connections, by wrk.

The exit code is 1 where something happened that no fault excuses: an answer of another service, a wrong one, 404 for a
valid user, a process that stays behind, a start that fails.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from faults_parts.scenarios import Outcome, Plan, one_after_another, scenarios  # noqa: E402
from faults_parts.services import running  # noqa: E402
from isolation import free_port  # noqa: E402
from serving_parts.load import check_wrk, request_mix, run_wrk, write_script  # noqa: E402

from recsys import console  # noqa: E402
from recsys.errors import RecsysError  # noqa: E402
from recsys.registry import bundle  # noqa: E402
from recsys.registry.locate import open_store  # noqa: E402

CONNECTIONS: Final = (64, 512, 1000)
USERS: Final = 50


def train(checkout: Path, data: str, registry: Path) -> None:
    command = [sys.executable, "train_job.py", "--data", data, "--registry", str(registry)]
    subprocess.run(command, cwd=checkout, check=True, stdout=subprocess.DEVNULL)


def renamed(registry: Path, copy: Path, version: str) -> None:
    """A registry with the version in production under another name."""
    opened = bundle.read(open_store(str(registry)).path())
    store = open_store(str(copy))
    store.publish(lambda folder: bundle.write(replace(opened, version=version), folder, {}), version)
    store.promote(version)


def goodput(plan: Plan, seconds: float) -> list[dict[str, Any]]:
    """Right answers a second by the number of connections."""
    check_wrk()
    script = write_script(request_mix(plan.registry, 0.5), plan.folder / "mix.lua")
    rows = []
    with running(plan.checkout, plan.registry, free_port(), plan.log("load"), plan.settings) as service:
        run_wrk(script, service.port, 32, seconds)
        for connections in CONNECTIONS:
            load = run_wrk(script, service.port, connections, seconds)
            rows.append(
                {
                    "connections": connections,
                    "right answers/s": round(load.throughput),
                    "other answers": load.errors,
                    "p50 ms": round(load.p50, 1),
                    "p99 ms": round(load.p99, 1),
                }
            )
    for row in rows:
        row["of 64"] = round(row["right answers/s"] / rows[0]["right answers/s"], 2)
    return rows


def row_of(name: str, outcome: Outcome) -> list[object]:
    """A line of the table."""
    failed = ", ".join(f"{count} x {kind}" for kind, count in outcome.failed.items()) or "0"
    values = ", ".join(f"{key}: {value}" for key, value in outcome.values.items())
    seconds = "never" if outcome.seconds is None else f"{outcome.seconds:.1f}"
    return [name, failed, seconds, values, "; ".join(outcome.problems) or "-"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--only", action="append", default=[], help="faults whose name holds this text; may be repeated"
    )
    parser.add_argument("--together", action="store_true", help="four faults of one service, one after another")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose service is broken")
    parser.add_argument("--registry", type=Path, help="of a trained model; by default one of synthetic:0.2 is trained")
    parser.add_argument("--load", action="store_true", help="measure goodput at many connections instead")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a load of wrk")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="a setting of the service")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        registry = arguments.registry or folder / "registry"
        if arguments.registry is None:
            train(arguments.checkout, "synthetic:0.2", registry)
        opened = bundle.read(open_store(str(registry)).path(), verify=False)
        users = [str(opened.snapshot.users[row]) for row in range(min(USERS, len(opened.snapshot.users)))]
        plan = Plan(arguments.checkout.resolve(), registry.resolve(), users, folder, settings=tuple(arguments.settings))
        if arguments.load:
            rows = goodput(plan, arguments.seconds)
            console.table([*rows[0]], [[*row.values()] for row in rows])
            results: dict[str, Any] = {"load": rows}
            failed = False
        else:
            renamed(registry, folder / "other", "another-version")
            outcomes = one_after_another(plan, folder / "other", "another-version") if arguments.together else {}
            for name, scenario in scenarios(plan, folder / "other", "another-version").items():
                if arguments.together or (arguments.only and not any(text in name for text in arguments.only)):
                    continue
                outcomes[name] = scenario()
                console.line(" | ".join(map(str, row_of(name, outcomes[name]))))
            console.table(
                ["fault", "failed requests", "seconds", "", "must not happen"],
                [row_of(name, outcome) for name, outcome in outcomes.items()],
            )
            results = {name: asdict(outcome) for name, outcome in outcomes.items()}
            failed = any(outcome.problems for outcome in outcomes.values())
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    except RecsysError as error:
        console.progress(f"error: {error}")
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
