"""`serve_app.py` of a checkout, its processes, and what it leaves behind."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from recsys.errors import RecsysError

READY_SECONDS: Final = 180.0
PARTS: Final = {
    "haproxy": "/haproxy -db",
    "haproxy's manager": "ray::HAProxyManager",
    "Serve's proxy actor": "ray::ProxyActor",
    "candidates": "ray::ServeReplica:recsys:Candidates",
    "factors": "ray::ServeReplica:recsys:Factors",
    "rank": "ray::ServeReplica:recsys:Rank",
    "ingress": "ray::ServeReplica:recsys:Ingress",
    "controller": "ray::ServeController",
    "raylet": "/raylet/raylet ",
    "GCS": "/gcs_server ",
}
"""Names of the parts of a service, and a piece of their command lines."""


@dataclass
class Service:
    """A running service; seen: all its processes so far."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    seen: dict[int, psutil.Process] = field(default_factory=dict)

    def family(self) -> list[psutil.Process]:
        """The living processes of the service; those that lost their parent are found again."""
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            self.seen |= {process.pid: process for process in (root, *root.children(recursive=True))}
        for process in list(self.seen.values()):
            with suppress(psutil.NoSuchProcess):
                self.seen |= {child.pid: child for child in process.children(recursive=True)}
        return [process for process in self.seen.values() if _lives(process)]

    def part(self, name: str) -> list[psutil.Process]:
        """The processes of a part, see PARTS."""
        found = []
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                if PARTS[name] in " ".join(process.cmdline()) + " ":
                    found.append(process)
        return found

    def kill(self, name: str) -> int:
        """Kill a process of a part; its pid."""
        victims = self.part(name)
        if not victims:
            raise RecsysError(f"the service has no process of: {name}")
        victims[0].kill()
        return victims[0].pid

    def status(self) -> int | None:
        """The status of /health, None where nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=10) as answer:
                status: int = answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None
        return status


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], object], seconds: float) -> float | None:
    """Seconds until the condition holds, None if it does not within `seconds`."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            return None
        time.sleep(0.05)
    return time.monotonic() - started


def start(
    checkout: Path,
    registry: Path,
    port: int,
    log: Path,
    settings: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
) -> Service:
    """The service of a checkout, in a process group of its own; it is not ready yet.

    variables: of its environment, besides those of this process
    """
    command = [sys.executable, "serve_app.py", "--registry", str(registry), "--port", str(port)]
    command += [part for setting in settings for part in ("--set", setting)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_SERVE_")}
    environment |= {"PYTHONPATH": str(checkout), "RAY_ADDRESS": "local", **(variables or {})}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=checkout, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    return Service(process, port, log)


def wait_until_ready(service: Service) -> float:
    """Seconds until /health is 200; raises RecsysError where it does not become so."""
    seconds = wait_until(lambda: service.process.poll() is not None or service.status() == 200, READY_SECONDS)
    if seconds is None or service.process.poll() is not None:
        raise RecsysError(f"not ready: {service.log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
    service.family()
    return seconds


def stop(service: Service) -> None:
    """End the service and all that it started."""
    service.family()
    with suppress(ProcessLookupError):
        service.process.terminate()
    with suppress(subprocess.TimeoutExpired):
        service.process.wait(40)
    for process in service.family():
        with suppress(psutil.NoSuchProcess):
            process.kill()
    service.process.wait(10)


@contextmanager
def running(
    checkout: Path,
    registry: Path,
    port: int,
    log: Path,
    settings: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """A service that is ready; see `start`."""
    service = start(checkout, registry, port, log, settings, variables)
    try:
        wait_until_ready(service)
        yield service
    finally:
        stop(service)
