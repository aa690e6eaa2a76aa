"""Monitoring of a real service: every query of the dashboard under load, and every alert by a real fault.

    python benchmarks/monitoring.py [--quick] [--registry FOLDER] [--json FILE] [--topology graph]

Starts the service and Debian's Prometheus with the files of deploy/monitoring, their times shortened. Under load every
query of the dashboard must return data. Then each fault is made, until its alert fires, and undone, until it is quiet.
Needs wrk and prometheus of Debian. Without --registry, a model of the synthetic shop is trained first. --quick makes
the queries and three of the faults alone.

The exit code is 1 where a query returned nothing, an alert did not fire or did not end, or one fired without a fault.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from faults_parts.services import Service, running, wait_until  # noqa: E402
from isolation import free_port  # noqa: E402
from monitoring_parts import faults, prometheus  # noqa: E402
from monitoring_parts.load import mixed_script, steady  # noqa: E402
from monitoring_parts.prometheus import Prometheus  # noqa: E402
from serving_parts.load import check_wrk  # noqa: E402

from recsys import console  # noqa: E402

FILES: Final = ROOT / "deploy" / "monitoring"
DASHBOARD: Final = FILES / "grafana" / "dashboards" / "recsys.json"
DATA_SECONDS: Final = 60.0
"""Time in which every query has to return data."""
FIRE_SECONDS: Final = 90.0
"""Time in which a fault has to fire its alert; and in which the alert has to be quiet again after it."""
LAST: Final = "RecsysDown"
"""Its fault ends the service, so it does not become quiet."""
QUICK: Final = ("RecsysRegistryUnreadable", "RecsysRulesUnusable", "RecsysDown")
SETTINGS: Final = ("max_waiting=16", "poll_seconds=3")
"""A short queue is soon full; a slow look at the registry lets a version break before it is read."""


def train(registry: Path) -> None:
    command = [sys.executable, "train_job.py", "--data", "synthetic:0.1", "--registry", str(registry)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def ask(server: Prometheus) -> list[dict[str, Any]]:
    """The series that each query of the dashboard returned, and the seconds until there were any."""
    rows = []
    for title, expression in prometheus.panels(DASHBOARD):
        seconds = wait_until(lambda expression=expression: prometheus.has_data(server.query(expression)), DATA_SECONDS)  # type: ignore[misc]
        series = server.query(expression)
        labels = [", ".join(v for k, v in one["metric"].items() if k != "__name__") for one in series]
        values = dict(zip(labels, (one["value"][1] for one in series), strict=True))
        rows.append({"panel": title, "query": expression, "series": len(series), "values": values, "seconds": seconds})
    return rows


def fire(shop: faults.Shop, server: Prometheus, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """For each alert the seconds until its fault fired it, and until it was quiet again."""
    rows: list[dict[str, Any]] = []
    for name in names:
        with console.step(name):
            # A fault before may have fired it too.
            calm = wait_until(lambda name=name: name not in server.firing(), FIRE_SECONDS)  # type: ignore[misc]
            with faults.FAULTS[name](shop):
                seconds = wait_until(lambda name=name: name in server.firing(), FIRE_SECONDS)  # type: ignore[misc]
                firing = server.firing()
            quiet = None if name == LAST else wait_until(lambda name=name: name not in server.firing(), FIRE_SECONDS)  # type: ignore[misc]
        rows.append(
            {
                "alert": name,
                "fault": faults.described(name),
                "fired after s": None if seconds is None or calm is None else round(seconds, 1),
                "quiet after s": None if quiet is None else round(quiet, 1),
                "summary": firing.get(name),
                "also fired": sorted(firing.keys() - {name}),
            }
        )
    return rows


def watched(service: Service, registry: Path, folder: Path, ports: tuple[int, int], quick: bool) -> dict[str, Any]:
    """The rows of both parts."""
    script = mixed_script(registry, folder / "mix.lua")
    data = folder / "prometheus"
    data.mkdir()
    shop = faults.Shop(service, registry, folder / "rules.yaml", folder / "keys.yaml", script)
    with ExitStack() as stack:
        server = stack.enter_context(prometheus.running(FILES, data, free_port(), ports[:1], ports[1]))
        stack.enter_context(steady(script, service.port))
        with console.step("queries of the dashboard"):
            queries = ask(server)
        calm = sorted(server.firing())
        alerts = fire(shop, server, QUICK if quick else tuple(faults.FAULTS))
    return {"queries": queries, "firing without a fault": calm, "alerts": alerts}


def print_report(rows: dict[str, Any]) -> None:
    console.table(
        ["panel", "series", "a value"],
        [[row["panel"], row["series"], next(iter(row["values"].values()), "-")] for row in rows["queries"]],
    )
    console.table(
        ["alert", "fault", "fired after s", "quiet after s", "also fired"],
        [
            [row["alert"], row["fault"], row["fired after s"], row["quiet after s"], ", ".join(row["also fired"])]
            for row in rows["alerts"]
        ],
    )


def run(options: argparse.Namespace) -> None:
    check_wrk()
    prometheus.check_prometheus()
    folder = Path(tempfile.mkdtemp(prefix="monitoring-"))
    try:
        registry = folder / "registry"
        if options.registry is None:
            with console.step("train"):
                train(registry)
        else:
            shutil.copytree(options.registry, registry)
        faults.decide(registry, "promoted", datetime.now(UTC))
        rules, keys, ports = folder / "rules.yaml", folder / "keys.yaml", (free_port(), free_port())
        rules.write_text(faults.NO_RULES, encoding="utf-8")
        keys.write_text(faults.KEYS, encoding="utf-8")
        settings = (*SETTINGS, f"topology={options.topology}", f"rules={rules}", f"keys={keys}")
        variables = {
            "RECSYS_METRICS_PORT": str(ports[0]),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports[1]),
            "RAY_metrics_report_interval_ms": "1000",
        }
        with running(ROOT, registry, free_port(), folder / "log", settings, variables) as service:
            rows = watched(service, registry, folder, ports, options.quick)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print_report(rows)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    empty = [row["panel"] for row in rows["queries"] if row["seconds"] is None]
    silent = [row["alert"] for row in rows["alerts"] if row["fired after s"] is None]
    endless = [row["alert"] for row in rows["alerts"] if row["quiet after s"] is None and row["alert"] != LAST]
    problems = {
        "no data": empty,
        "did not fire by its fault": silent,
        "did not end": endless,
        "fired without a fault": rows["firing without a fault"],
    }
    for problem, names in problems.items():
        if names:
            console.line(f"{problem}: {', '.join(names)}")
    if any(problems.values()):
        sys.exit(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--registry", type=Path, help="with a trained version, which is copied; default: train")
    parser.add_argument("--topology", choices=("graph", "fused"), default="graph", help="of the service")
    parser.add_argument("--quick", action="store_true", help="the queries, and three of the faults")
    parser.add_argument("--json", type=Path, help="write what was seen to this file")
    return console.guarded(lambda: run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
