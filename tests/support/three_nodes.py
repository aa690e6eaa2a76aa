"""A training job with a sweep on a Ray cluster of three nodes, of which two are taken away under way.

Run as a program: `python -m tests.support.three_nodes FOLDER ARGUMENT …`, the arguments being those of train_job.py.
Files in FOLDER say which node dies in which function, and that it did.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import ray
from ray.cluster_utils import Cluster

from recsys import cli
from recsys.training import examples
from recsys.training.sweep import search as tuning
from tests.support.processes import wait_until

FEATURES, SWEEP = "features", "sweep"


def fragile(function: Callable[..., Any], folder: Path, what: str) -> Callable[..., Any]:
    """The function, but a call on the doomed node waits for the node's end, and another call waits for that call."""

    def run(*arguments: Any) -> Any:
        reached = folder / f"{what}.reached"
        if ray.get_runtime_context().get_node_id() == (folder / f"{what}.node").read_text():
            reached.touch()
            Event().wait(120)
            raise RuntimeError("nobody took this node away")
        wait_until(reached.exists, 120)
        return function(*arguments)

    return run


def main() -> int:
    folder, *arguments = sys.argv[1:]
    place = Path(folder)
    # Ray declares a node dead after two failed checks, one second apart. A busy node has as long as before.
    os.environ |= {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "2"}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 200 * 2**20})
    nodes = {what: cluster.add_node(num_cpus=1, object_store_memory=150 * 2**20) for what in (FEATURES, SWEEP)}
    for what, node in nodes.items():
        (place / f"{what}.node").write_text(node.node_id)
    os.environ["RAY_ADDRESS"] = cluster.address

    def take_away() -> None:
        for what, node in nodes.items():
            wait_until((place / f"{what}.reached").exists, 150)
            cluster.remove_node(node, allow_graceful=False)
            (place / f"{what}.gone").write_text(json.dumps({"node": node.node_id}))

    trial = fragile(tuning.run_trial, place, SWEEP)

    def run_trial(point: Any, job: Any) -> None:  # Tune looks at the names of the arguments
        trial(point, job)

    examples.make_examples = fragile(examples.make_examples, place, FEATURES)
    tuning.run_trial = run_trial
    thread = Thread(target=take_away, daemon=True)
    thread.start()
    try:
        return cli.main(["train", *arguments])
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    sys.exit(main())
