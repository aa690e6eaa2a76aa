"""A Ray cluster of three nodes on this machine, and jobs and the service on it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from isolation import free_port
from ray.cluster_utils import Cluster
from ray.util.state import list_actors

from recsys.errors import RecsysError

ROOT: Final = Path(__file__).resolve().parents[2]
CPUS: Final = 2
"""Of each node, whatever the machine has."""
STORE_BYTES: Final = 300 * 2**20
JOB_SECONDS: Final = 900


@dataclass
class Nodes:
    """A running cluster.

    dashboard: its address; workers: the nodes without the head, in the order in which they were added
    """

    dashboard: str
    cluster: Any
    workers: list[Any]

    def kill_worker(self) -> tuple[str, int]:
        """Kill the worker node that has the most replicas; its id, and how many they were."""
        counts = [self._replicas(node.node_id) for node in self.workers]
        node = self.workers.pop(counts.index(max(counts)))
        self.cluster.remove_node(node, allow_graceful=False)
        return str(node.node_id), max(counts)

    def _replicas(self, node_id: str) -> int:
        """The replicas of Serve that live on a node."""
        filters: list[Any] = [("node_id", "=", node_id), ("state", "=", "ALIVE")]
        actors = list_actors(address=self.dashboard, filters=filters, limit=1000)
        return sum(actor.class_name.startswith("ServeReplica") for actor in actors)

    def job(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """A job, submitted as a person does, once it has ended."""
        submit = [ray_program(), "job", "submit", "--address", self.dashboard, "--working-dir", ".", "--"]
        return subprocess.run(
            [*submit, *command], cwd=ROOT, capture_output=True, text=True, timeout=JOB_SECONDS, check=False
        )

    def deploy(self, registry: str, port: int, file: Path, **arguments: object) -> None:
        """`serve deploy` of serve.yaml with two replicas of each stage; arguments: further settings"""
        config = yaml.safe_load((ROOT / "serve.yaml").read_text(encoding="utf-8"))
        config["proxy_location"] = "HeadOnly"  # the nodes share this machine's ports
        config["http_options"]["port"] = port
        [application] = config["applications"]
        two = dict.fromkeys(("ingress", "candidates", "factors", "rank"), "2")
        application["args"] |= {"registry": registry, **two, **arguments}
        application["deployments"] = [
            deployment | {"ray_actor_options": {"num_cpus": 0.2}} for deployment in application["deployments"]
        ]
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("serve")), "deploy", str(file), "--address", self.dashboard]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        if ended.returncode:
            raise RecsysError(f"serve deploy: {ended.stderr[-2000:]}")


def ray_program() -> str:
    return str(Path(sys.executable).with_name("ray"))


@contextmanager
def three_nodes(metrics_ports: tuple[int, int, int]) -> Iterator[Nodes]:
    """A cluster of three nodes; metrics_ports: of Ray's exporter on each"""
    node: dict[str, Any] = {"num_cpus": CPUS, "object_store_memory": STORE_BYTES}
    port = free_port()
    head = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    cluster = Cluster(initialize_head=True, head_node_args=node | head | {"metrics_export_port": metrics_ports[0]})
    try:
        workers = [cluster.add_node(**node, metrics_export_port=number) for number in metrics_ports[1:]]
        yield Nodes(f"http://127.0.0.1:{port}", cluster, workers)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
