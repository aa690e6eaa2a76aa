"""The steps of the week, in the process that starts the cluster: `python -m operation_parts.week FOLDER SCALE JSON`.

Ray reads its environment when it is imported, so `operation.py` prepares it in a process before this one.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from faults_parts.services import wait_until
from isolation import free_port
from monitoring_parts.prometheus import Prometheus, has_data, panels, running

from operation_parts.answers import VersionedLoad
from operation_parts.cluster import ROOT, Nodes, three_nodes
from operation_parts.shop import REGISTRY, Shop
from recsys import console
from recsys.errors import RecsysError
from recsys.registry import bundle
from recsys.registry.decisions import last_decision
from recsys.registry.locate import open_store
from recsys.serving.run import answers

CLIENTS: Final = 4
USERS: Final = 50
READY_SECONDS: Final = 240.0
FOLLOW_SECONDS: Final = 60.0
DATA_SECONDS: Final = 60.0
WEAK: Final = ("ranker.max_trees=1", "ranker.num_leaves=2")
MARGIN: Final = "retrain.margin=0.15"
"""The interval of so small a shop is wide: with the default margin, a challenger that leads by 6% is kept."""
MONITORING: Final = ROOT / "deploy" / "monitoring"
DASHBOARD: Final = MONITORING / "grafana" / "dashboards" / "recsys.json"


@dataclass
class Run:
    """A running week; steps: what each step did, by name"""

    nodes: Nodes
    shop: Shop
    port: int
    folder: Path
    prometheus: Prometheus
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    alerts: set[str] = field(default_factory=set)

    def step(self, name: str, act: Callable[[], dict[str, Any]]) -> None:
        """Do something, print and keep what came of it, and the alerts that fire then."""
        began = time.monotonic()
        found = act() | {"seconds": round(time.monotonic() - began, 1)}
        if firing := sorted(self.prometheus.firing()):
            found["alerts"] = ", ".join(firing)
            self.alerts |= set(firing)
        self.steps[name] = found
        console.line(f"{name}: " + ", ".join(f"{key} {value}" for key, value in found.items()))

    def submit(self, *command: str, code: int = 0) -> None:
        """Run a job to its end; raises RecsysError where it ends otherwise than with this exit code."""
        ended = self.nodes.job(*command)
        if (ended.returncode != 0) != (code != 0):  # `ray job submit` has 1 for every other code of the job
            text = (ended.stdout + ended.stderr)[-3000:]
            raise RecsysError(f"{' '.join(command)}: exit code {ended.returncode}:\n{text}")

    def expect(self, name: str, found: object, wanted: object) -> None:
        """Note a problem where something is not as it should be."""
        if found != wanted:
            self.problems.append(f"{name}: {found}, expected {wanted}")


def train(run: Run) -> dict[str, Any]:
    """The first version, from the bucket, three weeks before the end of the log."""
    data = run.shop.upload("first", days_left_out=21)
    run.submit("python", "train_job.py", "--data", data, "--registry", REGISTRY)
    return {"version": open_store(REGISTRY).production()}


def serve(run: Run) -> dict[str, Any]:
    """Two replicas of each stage."""
    run.nodes.deploy(REGISTRY, run.port, run.folder / "serve.yaml", deadline_ms=5000)
    if wait_until(lambda: answers("127.0.0.1", run.port), READY_SECONDS) is None:
        raise RecsysError(f"the service is not ready after {READY_SECONDS:.0f} s")
    return {"replicas": 8}


def retrain(run: Run, outcome: str, data: str, *settings: str) -> dict[str, Any]:
    """A retraining as a job, and its decision."""
    options = [part for setting in (MARGIN, *settings) for part in ("--set", setting)]
    command = ["python", "-m", "recsys", "retrain", "--data", data, "--registry", REGISTRY, *options]
    run.submit(*command, code=2 if outcome == "refused" else 0)
    store = open_store(REGISTRY)
    decision = last_decision(store)
    if decision is None:
        raise RecsysError("a retraining has left no decision")
    run.expect("outcome", decision.outcome, outcome)
    promoted = decision.version if outcome == "promoted" else decision.production
    run.expect("version in production", store.production(), promoted)
    return {"outcome": decision.outcome, "reason": decision.reason, "in production": store.production()}


def follow(run: Run, load: VersionedLoad, act: Callable[[], object]) -> dict[str, Any]:
    """Change the version in production, and wait until answers come from it."""
    act()
    version = str(open_store(REGISTRY).production())
    before = load.versions().get(version, 0)
    if wait_until(lambda: load.versions().get(version, 0) > before + 100, FOLLOW_SECONDS) is None:
        run.problems.append(f"no answers from {version}")
    return {"in production": version}


def lose_node(run: Run, load: VersionedLoad) -> dict[str, Any]:
    """A worker node dies with all its replicas."""
    before = load.answered
    node, replicas = run.nodes.kill_worker()
    run.expect("the node had replicas", replicas > 0, True)
    lively = wait_until(lambda: load.answered > before + 2000 and answers("127.0.0.1", run.port), READY_SECONDS)
    run.expect("answers after the death of a node", lively is not None, True)
    return {"node": node[:8], "replicas": replicas, "answered": load.answered - before}


def look(run: Run) -> dict[str, Any]:
    """Whether every query of the dashboard has data."""
    asked = panels(DASHBOARD)
    empty = [
        title
        for title, query in asked
        if wait_until(lambda query=query: has_data(run.prometheus.query(query)), DATA_SECONDS) is None  # type: ignore[misc]
    ]
    run.expect("panels without data", empty, [])
    return {"queries": len(asked), "without data": empty}


def week(run: Run) -> None:
    """All steps, under load from the moment when the service is ready."""
    run.step("train from S3", lambda: train(run))
    run.step("serve two replicas a stage", lambda: serve(run))
    opened = bundle.read(open_store(REGISTRY).path(), verify=False)
    users = [opened.snapshot.users[row] for row in range(min(USERS, len(opened.snapshot.users)))]
    paths = [f"/recommend/{user}?n=5" for user in users]
    paths += [f"/recommend/{user}?n=5&exclude_seen=true" for user in users[:5]]
    thinned = run.shop.upload("thinned", days_left_out=14, thinned_days=7)
    newer, newest = run.shop.upload("newer", days_left_out=14), run.shop.upload("newest")
    with VersionedLoad(run.port, paths, CLIENTS) as load:
        wait_until(lambda: load.answered > 200, FOLLOW_SECONDS)
        run.step("retrain on a log with a gap", lambda: retrain(run, "refused", thinned))
        run.step("retrain with a weak ranker", lambda: retrain(run, "kept", newer, *WEAK))
        run.step("retrain on the newest data", lambda: retrain(run, "promoted", newest))
        run.step("the service follows", lambda: follow(run, load, lambda: None))
        run.step("dashboard", lambda: look(run))
        run.step("roll back", lambda: follow(run, load, open_store(REGISTRY).rollback))
        run.step("a node is killed", lambda: lose_node(run, load))
    wrong = load.wrong_answers(REGISTRY)
    run.steps["load"] = {
        "answered": load.answered,
        "failed": load.kinds(),
        "wrong": wrong,
        "answers by version": load.versions(),
    }
    console.line(f"load: {run.steps['load']}")
    run.expect("failed requests", load.kinds(), {})
    run.expect("wrong answers", wrong, 0)
    run.expect("alerts about the gap", "RecsysRetrainRefused" in run.alerts, True)


def main(folder: Path, scale: float, out: Path) -> int:
    exporters = free_port(), free_port(), free_port()
    haproxy = int(os.environ["RAY_SERVE_HAPROXY_METRICS_PORT"])
    (folder / "prometheus").mkdir()
    with (
        three_nodes(exporters) as nodes,
        running(MONITORING, folder / "prometheus", free_port(), exporters, haproxy) as prometheus,
    ):
        run = Run(nodes, Shop.open(folder / "shop", scale), free_port(), folder, prometheus)
        try:
            week(run)
        except RecsysError as error:
            run.problems.append(str(error))
    out.write_text(json.dumps({"steps": run.steps, "problems": run.problems}, indent=1) + "\n", encoding="utf-8")
    for problem in run.problems:
        console.line(f"problem: {problem}")
    return int(bool(run.problems))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])))
