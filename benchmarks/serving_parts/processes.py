"""Starts a system by itself, watches its processes, ends it."""

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from isolation import free_port

from recsys.errors import RecsysError
from recsys.serving.host.environment import service_environment, write_launcher
from recsys.serving.host.folder import ServiceFolder, service_folder

BENCHMARKS: Final = Path(__file__).resolve().parent.parent
START_TRIALS: Final = 3
START_SECONDS: Final = 180
STOP_SECONDS: Final = 20.0
REPLICA: Final = "ray::ServeReplica:"
OWNERS: Final = (
    ("haproxy -", "HAProxy"),
    ("ray::ServeController", "Serve controller"),
    ("ray::HAProxyManager", "Serve proxy actors"),
    ("ray::ProxyActor", "Serve proxy actors"),
    ("serving_parts.systems", "driver"),
)
"""Part of a command line, and whose process it is; any other one is Ray's."""


@dataclass(frozen=True, slots=True)
class System:
    """A system that runs; ready: seconds from when Ray was up (for `plain`: imports done) until /health was 200."""

    name: str
    port: int
    ready: float
    root: psutil.Process

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            body: bytes = answer.read()
        return body

    def processes(self) -> list[tuple[str, psutil.Process]]:
        """All processes with their owners: a deployment's name, `plain`, or one of OWNERS."""
        found = []
        for process in (self.root, *self.root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                found.append((self._owner(" ".join(process.cmdline())), process))
        return found

    def _owner(self, command: str) -> str:
        if command.startswith(REPLICA):
            return re.split(r"[ .]", command.rsplit(":", 1)[1])[0]  # a method under way stands after a dot
        owner = next((owner for part, owner in OWNERS if part in command), "Ray")
        return self.name if self.name == "plain" and owner == "driver" else owner

    def memory(self) -> tuple[int, int, int]:
        """Bytes of the replicas (of `plain`: its process), how many there are, bytes of all processes.

        Proportional set sizes: a page that n processes share counts 1/n for each.
        """
        others = {owner for _, owner in OWNERS} | {"Ray"}
        mine, count, everything = 0, 0, 0
        for owner, process in self.processes():
            with suppress(psutil.NoSuchProcess):
                size = process.memory_full_info().pss
                everything += size
                if owner not in others:
                    mine, count = mine + size, count + 1
        return mine, count, everything

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time so far, by owner."""
        spent: dict[str, float] = defaultdict(float)
        for owner, process in self.processes():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                spent[owner] += times.user + times.system
        return spent


@contextmanager
def running(name: str, registry: Path, folder: Path, rules: Path | None = None) -> Iterator[System]:
    """A system, once it is ready; raises RecsysError. folder: empty, for its files; rules: the service's rules file"""
    port, log = free_port(), folder / "log"
    with service_folder() as own:
        arguments = [name, str(registry.absolute()), str(port), *([] if rules is None else [str(rules)])]
        child = start(arguments, environment(folder, own), log)
        try:
            yield System(name, port, wait_until_healthy(child, port, log), psutil.Process(child.pid))
        finally:
            stop(child)


def start(arguments: list[str], variables: dict[str, str], log: Path) -> "subprocess.Popen[str]":
    """A process with the system, once it says that it is up.

    Tried several times, since Ray gives up where the machine is too busy to start it within 30 s.
    """
    command = [sys.executable, "-m", "serving_parts.systems", *arguments]
    for _ in range(START_TRIALS):
        with log.open("w", encoding="utf-8") as stderr:
            child = subprocess.Popen(
                command, cwd=BENCHMARKS, env=variables, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        if any(line.strip() == "up" for line in child.stdout or ()):
            return child
        stop(child)
    raise RecsysError(f"the system cannot start: {tail(log)}")


def environment(folder: Path, own: ServiceFolder) -> dict[str, str]:
    """The variables that `recsys serve` sets, and those of a Ray of its own; folder: of Ray's files"""
    write_launcher(own.path)
    return service_environment(own) | {
        "PYTHONPATH": os.pathsep.join((str(BENCHMARKS.parent), str(BENCHMARKS))),
        "RAY_ADDRESS": "local",
        "RAY_TMPDIR": str(folder),
    }


def wait_until_healthy(child: "subprocess.Popen[str]", port: int, log: Path) -> float:
    """Seconds until /health answers 200."""
    started = time.monotonic()
    while (waited := time.monotonic() - started) < START_SECONDS:
        if child.poll() is not None:
            break
        with suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).close()
            return time.monotonic() - started
        time.sleep(0.05)
    raise RecsysError(f"not ready after {waited:.0f} s, exit code {child.poll()}: {tail(log)}")


def tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]


def stop(child: "subprocess.Popen[str]") -> None:
    """End the system with everything it started; what a killed parent leaves behind is killed too."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(child.pid)
        family = [*root.children(recursive=True), root]
        child.terminate()
        _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=STOP_SECONDS)
    child.wait()
    if child.stdout:
        child.stdout.close()
