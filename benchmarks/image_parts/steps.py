"""The image's commands, run as a person runs them: train, serve until SIGTERM under load, a head and a worker."""

import json
import secrets
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from faults_parts.checked_load import CheckedLoad, expected_answers
from faults_parts.services import wait_until
from isolation import free_port

from image_parts.content import Content
from image_parts.engine import STRICT, Engine
from recsys.errors import RecsysError

STOP_SECONDS: Final = 10.0
"""Docker kills a container so long after SIGTERM."""
READY_SECONDS: Final = 300.0
CLIENTS: Final = 4
UID: Final = 10001
USERS: Final = ("1", "13", "900", "1228")
"""Households of completejourney."""
SETTINGS: Final = (
    *("examples.cuts=1", "examples.max_users=500", "examples.discover=false", "ranker.max_trees=20"),
    *("factorization.confidence=0.03", "factorization.iterations=2", "factorization.factors=16"),
    *("evaluation.seeds=1", "evaluation.bootstrap_samples=100", "evaluation.max_users=500", "evaluation.page=false"),
    "sessions.publish=never",
)
"""A quick training; the model means nothing."""
ZOMBIES: Final = """
import pathlib
states = []
for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
    try:
        states.append(path.read_text().rpartition(") ")[2].split()[0])
    except OSError:
        pass
print(len(states), states.count("Z"))
"""
JOB: Final = """
import time, ray
ray.init()
end = time.monotonic() + 90
while len([node for node in ray.nodes() if node["Alive"]]) < 2 and time.monotonic() < end:
    time.sleep(0.2)
@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def where():
    import recsys, lightgbm, cmfrec
    time.sleep(1)
    return ray.util.get_node_ip_address()
print("nodes", len(set(ray.get([where.remote() for _ in range(4)]))))
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that was measured or checked; passed: None where nothing was expected of it."""

    setting: str
    metric: str
    value: float
    unit: str
    passed: bool | None = None
    note: str = ""


def content_rows(held: Content) -> list[Seen]:
    """The image's size and parts, and what it must not have."""
    largest = sorted(held.packages.items(), key=lambda pair: -pair[1])[:12]
    return [
        Seen("content", "size", held.megabytes, "MB"),
        *(Seen("content", f"package {name}", size, "MB") for name, size in largest),
        Seen("content", "all packages", sum(held.packages.values()), "MB"),
        Seen("content", "bytecode in them", held.bytecode, "MB"),
        Seen("content", "uid", held.uid, "", held.uid == UID),
        Seen("content", "Python 3.11", float(held.python), "", held.python == "3.11"),
        Seen("content", "compilers, installers", len(held.programs), "", not held.programs, " ".join(held.programs)),
        Seen(
            "content",
            "folders that it may write",
            len(held.writable),
            "",
            held.writable == ("/data", "/tmp", "/home/recsys"),
            " ".join(held.writable),
        ),
        Seen("content", "health check", int(held.has_health_check), "", held.has_health_check),
    ]


def train(engine: Engine, image: str) -> Iterator[Seen]:
    """Train on completejourney into the volume of this run."""
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    started = time.monotonic()
    command = ["run", "--rm", *STRICT, "--network", "none", "--volume", f"{engine.prefix}:/data", image, "train"]
    done = engine.call(*command, "--data", "completejourney", *settings, check=False)
    yield Seen("train", "time", time.monotonic() - started, "s")
    yield Seen("train", "exit code", done.returncode, "", done.returncode == 0, done.stderr[-300:])
    if done.returncode:
        raise RecsysError(f"train: {done.stderr[-3000:]}")


def _get(port: int, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        body: dict[str, Any] = json.load(response)
    return body


def _health(engine: Engine, name: str) -> int:
    """The exit code of the image's health check, in a running container."""
    if engine.state(name, "Running") != "true":
        raise RecsysError(f"{name} has ended: {engine.log(name)}")
    return engine.call("exec", name, "python", "/app/health.py", check=False).returncode


def serve(engine: Engine, image: str, seconds: float) -> Iterator[Seen]:
    """Serve, ask, and stop under load; seconds: of load before SIGTERM"""
    port = free_port()
    options = (*STRICT, "--volume", f"{engine.prefix}:/data", "--network", engine.prefix)
    with engine.container("serve", (*options, "--publish", f"127.0.0.1:{port}:8000", image), "serve") as name:
        yield Seen("serve", "unhealthy at first", _health(engine, name), "", _health(engine, name) == 1)
        ready = wait_until(lambda: _health(engine, name) == 0, READY_SECONDS)
        if ready is None:
            raise RecsysError(f"serve is not ready after {READY_SECONDS:g} s: {engine.log(name)}")
        yield Seen("serve", "ready", ready, "s")
        version = _get(port, "/health")["model_version"]
        items = [_get(port, f"/recommend/{user}?n=5")["recommendations"] for user in USERS]
        yield Seen("serve", "recommendations", sum(map(len, items)), "", all(len(five) == 5 for five in items), version)
        expected = expected_answers(port, USERS)
        with CheckedLoad(port, expected, CLIENTS, fresh=True) as load:
            time.sleep(seconds)
            processes, zombies = map(int, engine.call("exec", name, "python", "-c", ZOMBIES).stdout.split())
            took, code = engine.stop(name)
            ended = time.monotonic()
        failures = [failure for failure in load.failures if failure.ended <= ended]
        kinds = ", ".join(sorted({failure.kind for failure in failures}))
        yield Seen("serve", "processes", processes, "")
        yield Seen("serve", "zombies", zombies, "", zombies == 0)
        yield Seen("serve", "answers under load", load.answered, "", load.answered > 0)
        yield Seen("serve", "failed requests", len(failures), "", not failures, kinds)
        yield Seen("serve", "time to stop", took, "s", took <= STOP_SECONDS)
        yield Seen("serve", "exit code", code, "", code == 0, engine.log(name)[-300:] if code else "")


def cluster(engine: Engine, image: str) -> Iterator[Seen]:
    """A head and a worker that share a token, a job on both, and nodes without the token."""
    options = (*STRICT, "--network", engine.prefix)
    mine, other = engine.with_token(secrets.token_hex(32)), engine.with_token(secrets.token_hex(32))
    token = ("--env", "RAY_AUTH_TOKEN")
    bare = engine.call("run", "--rm", *options, image, "head", check=False)
    yield Seen("cluster", "exit code of a head without a token", bare.returncode, "", bare.returncode == 2, bare.stderr)
    with mine.container("head", (*options, *token, image), "head", "--num-cpus", "1") as head:
        submit = ["exec", head, "ray", "job", "submit", "--address", "http://127.0.0.1:8265", "--", "python", "-c", JOB]
        address = ("worker", "--address", f"{head}:6379", "--num-cpus", "1")
        ready = wait_until(
            lambda: engine.call("exec", head, "ray", "status", check=False).returncode == 0, READY_SECONDS
        )
        yield Seen("cluster", "head ready", ready or 0, "s", ready is not None, "" if ready else engine.log(head))
        with other.container("stranger", (*options, *token, image), *address) as stranger:
            ended = wait_until(lambda: engine.state(stranger, "Running") != "true", READY_SECONDS)
            code = int(engine.state(stranger, "ExitCode"))
            yield Seen("cluster", "exit code of a worker with another token", code, "", ended is not None and code != 0)
        with mine.container("worker", (*options, *token, image), *address) as worker:
            started = time.monotonic()
            job = engine.call(*submit, check=False)
            seen = job.stdout + job.stderr
            yield Seen("cluster", "job on two nodes", time.monotonic() - started, "s", "nodes 2" in seen, seen[-300:])
            with_none = ["exec", "--env", "RAY_AUTH_TOKEN=", *submit[1:]]
            refused = engine.call(*with_none, check=False)
            yield Seen("cluster", "exit code of a job without a token", refused.returncode, "", refused.returncode != 0)
            took, _ = engine.stop(worker)
            yield Seen("cluster", "time to stop a worker", took, "s", took <= STOP_SECONDS)
        took, _ = engine.stop(head)
        yield Seen("cluster", "time to stop the head", took, "s", took <= STOP_SECONDS)
