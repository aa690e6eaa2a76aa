"""The faults: each starts a service, breaks one thing under a load that checks every answer, and looks what happens."""

import contextlib
import os
import resource
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from isolation import free_port

from faults_parts.checked_load import CheckedLoad, Client, expected_answers
from faults_parts.services import PARTS, Service, running, start, stop, wait_until, wait_until_ready

CALM_SECONDS: Final = 3.0
"""For so long no request fails, and the service counts as recovered."""
LONGEST_SECONDS: Final = 60.0
IDLE_CONNECTIONS: Final = 4096
SLOW_CONNECTIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """A checkout, its registry and users of it; folder: for logs"""

    checkout: Path
    registry: Path
    users: list[str]
    folder: Path
    settings: tuple[str, ...] = ()

    def log(self, name: str) -> Path:
        return self.folder / f"{name.replace(' ', '-')}.log"

    def running(self, name: str, settings: tuple[str, ...] = ()) -> contextlib.AbstractContextManager[Service]:
        """A service that is ready; name: of its log"""
        return running(self.checkout, self.registry, free_port(), self.log(name), self.settings + settings)


@dataclass(slots=True)
class Outcome:
    """What a fault did.

    failed: requests without a right answer, by kind
    seconds: until all answers were right again; None where they never were
    values: further figures; problems: what must not happen at all
    """

    failed: dict[str, int] = field(default_factory=dict)
    seconds: float | None = 0.0
    values: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


WRONG: Final = ("wrong answer", "status 404", "status 500")
"""Failures that no fault excuses: whoever cannot answer says 503 or nothing."""


def killed(plan: Plan, part: str, settings: tuple[str, ...] = ()) -> Outcome:
    """One process of a part is killed."""
    with plan.running(f"kill {part}", settings) as service:
        outcome = _without(plan, service, part)
        outcome.problems += _ends_clean(service)
    return outcome


def _without(plan: Plan, service: Service, part: str) -> Outcome:
    """One process of a part of a running service is killed."""
    expected = expected_answers(service.port, plan.users)
    with CheckedLoad(service.port, expected) as load:
        wait_until(lambda: load.answered > 200, 30)
        before = len(load.failures)
        killed_at = time.monotonic()
        service.kill(part)
        outcome = _recovered(load, killed_at, before)
    outcome.problems += [f"{count} x {kind}" for kind, count in outcome.failed.items() if kind.startswith(WRONG)]
    return outcome


def _recovered(load: CheckedLoad, began: float, before: int) -> Outcome:
    """Wait until no request fails any more.

    began: when the fault was made, on the monotonic clock; before: failures until then
    """

    def calm() -> bool:
        return time.monotonic() - max(load.last_failure() or began, began) > CALM_SECONDS

    settled = wait_until(calm, LONGEST_SECONDS)
    seconds = max((failure.ended - began for failure in load.failures[before:]), default=0.0)
    return Outcome(load.kinds(before), round(seconds, 1) if settled is not None else None)


def _ends_clean(service: Service) -> list[str]:
    """Problems at the end of a service: it takes too long, or processes stay behind."""
    service.family()
    service.process.terminate()
    started = time.monotonic()
    problems = []
    if wait_until(lambda: service.process.poll() is not None, 40) is None:
        problems.append("does not end within 40 s after SIGTERM")
    elif (took := time.monotonic() - started) > 10:
        problems.append(f"takes {took:.0f} s to end")
    return problems + _left_behind(service)


def _left_behind(service: Service, seconds: float = 10) -> list[str]:
    """The problem that processes of an ended service still live after some seconds, if they do."""
    if wait_until(lambda: not service.family(), seconds) is not None:
        return []
    return [f"leaves behind: {', '.join(sorted({process.name() for process in service.family()}))}"]


def stopped(plan: Plan, group: bool) -> Outcome:
    """SIGTERM under load, to the process alone or to its process group; clients open a connection for each request."""
    name = "SIGTERM to the group" if group else "SIGTERM"
    with plan.running(name) as service:
        return _terminated(plan, service, group)


def _terminated(plan: Plan, service: Service, group: bool) -> Outcome:
    """SIGTERM to a running service, see `stopped`."""
    expected = expected_answers(service.port, plan.users)
    with CheckedLoad(service.port, expected, fresh=True) as load:
        wait_until(lambda: load.answered > 500, 30)
        at = time.monotonic()
        if group:
            os.killpg(service.process.pid, signal.SIGTERM)
        else:
            service.process.terminate()
        ended = wait_until(lambda: service.process.poll() is not None, 60)
        took = time.monotonic() - at
        wait_until(lambda: load.elsewhere > 50, 5)
    outcome = Outcome(load.kinds(), round(took, 1))
    if ended is None:
        outcome.problems.append("does not end")
    outcome.problems += _left_behind(service)
    return outcome


def leftovers(plan: Plan, victim: str) -> Outcome:
    """The driver, the GCS or all processes of the group are killed; then a service starts anew on the same port."""
    port = free_port()
    service = start(plan.checkout, plan.registry, port, plan.log(f"kill -9 {victim}"), plan.settings)
    outcome = Outcome()
    try:
        wait_until_ready(service)
        if victim == "group":
            os.killpg(service.process.pid, signal.SIGKILL)
        elif victim == "driver":
            service.process.kill()
        else:  # what is left serves on, and ends when it is told to
            service.kill(victim)
            if wait_until(lambda: service.status() != 200, CALM_SECONDS) is not None:
                outcome.problems.append(f"without {victim} /health is {service.status()}")
            outcome.problems += _ends_clean(service)
        outcome.values["processes"] = ", ".join(_left_behind(service, 20)) or "none left"
        with _started_again(plan, port, f"after {victim}", outcome):
            pass
    finally:
        stop(service)
    return outcome


@contextlib.contextmanager
def _started_again(plan: Plan, port: int, name: str, outcome: Outcome) -> Iterator[Service]:
    """A new service on the port of one that died; it gets 60 s. name: of its log; outcome: gets the seconds"""
    at = time.monotonic()
    again = start(plan.checkout, plan.registry, port, plan.log(name), plan.settings)
    try:
        wait_until(lambda: again.process.poll() is not None or again.status() == 200, 60)
        if again.process.poll() is not None or again.status() != 200:
            outcome.problems.append(f"no new start: {again.log.read_text(errors='replace')[-300:]}")
            outcome.seconds = None
        else:
            outcome.seconds = round(time.monotonic() - at, 1)
        yield again
    finally:
        stop(again)


def neighbours(plan: Plan, other: Path, version: str) -> Outcome:
    """A second service, over another registry, starts beside the first one, which is then killed.

    version: the second one's; whatever its port answers names it
    """
    with plan.running("first of two") as first:
        return _beside(plan, first, other, version)


def _beside(plan: Plan, first: Service, other: Path, version: str) -> Outcome:
    """A second service comes, and the first one is killed, see `neighbours`."""
    outcome = Outcome()
    second = start(plan.checkout, other, free_port(), plan.log("second of two"), plan.settings)
    over = threading.Event()
    seen: dict[str, int] = {}

    def look() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError, ValueError):
                status, body = Client(second.port, fresh=True).get(f"/recommend/{plan.users[0]}?n=5&cold_start=true")
                answer = "its own" if f'"{version}"'.encode() in body else f"status {status}"
                key = answer if status != 200 or answer == "its own" else "another service's"
                seen[key] = seen.get(key, 0) + 1
            over.wait(0.02)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        started = wait_until(lambda: second.process.poll() is not None or second.status() == 200, 90)
        if started is None or second.process.poll() is not None:
            outcome.problems.append(f"the second does not start: {second.log.read_text(errors='replace')[-300:]}")
        first.process.kill()
        wait_until(lambda: not first.family(), 15)
        if second.status() != 200:
            outcome.problems.append("the second does not outlive the first")
        answers = seen.get("its own", 0)
        wait_until(lambda: seen.get("its own", 0) > answers + 20, 10)
    finally:
        over.set()
        watching.join()
        stop(second)
    outcome.values = seen
    outcome.problems += [f"{count} x {kind}" for kind, count in seen.items() if kind == "another service's"]
    outcome.problems += [f"{count} x {kind}" for kind, count in seen.items() if kind in ("status 404", "status 500")]
    return outcome


def one_after_another(plan: Plan, other: Path, version: str) -> dict[str, Outcome]:
    """Several faults of one service, since a start takes longest: for tests. other, version: see `neighbours`.

    HAProxy's manager is killed. A second service comes beside the first, which is then killed. It starts anew on its
    port, and is stopped under load by a signal to its group.
    """
    outcomes = {}
    with plan.running("one after another") as service:
        outcomes["kill haproxy's manager"] = _without(plan, service, "haproxy's manager")
        outcomes["two services"] = _beside(plan, service, other, version)
        left = _left_behind(service, 20)
    again = outcomes["kill -9, start again"] = Outcome(values={"processes": ", ".join(left) or "none left"})
    with _started_again(plan, service.port, "started again", again) as service:
        outcomes["SIGTERM to the group"] = _terminated(plan, service, group=True)
    return outcomes


def idle(plan: Plan) -> Outcome:
    """IDLE_CONNECTIONS connections without a request are opened beside a load with a connection for each request."""
    with plan.running("idle") as service, _many_files():
        expected = expected_answers(service.port, plan.users)
        with CheckedLoad(service.port, expected, clients=4, fresh=True) as load:
            wait_until(lambda: load.answered > 200, 30)
            at = time.monotonic()
            connections = [_connection(service.port) for _ in range(IDLE_CONNECTIONS)]
            outcome = _recovered(load, at, 0)
            for connection in connections:
                if connection:
                    connection.close()
    return outcome


def slow(plan: Plan) -> Outcome:
    """SLOW_CONNECTIONS connections send a request byte by byte beside a usual load; p50 with them and without."""
    with plan.running("slow") as service:
        expected = expected_answers(service.port, plan.users)
        with CheckedLoad(service.port, expected) as load:
            wait_until(lambda: load.answered > 1000, 60)
            before = statistics.median(load.seconds)
            count = len(load.seconds)
            with _dripping(service.port):
                wait_until(lambda: load.answered > count + 1500, 60)
            after = statistics.median(load.seconds[count:])
    return Outcome(load.kinds(), 0.0, {"p50 ratio": round(after / before, 2)})


@contextlib.contextmanager
def _dripping(port: int) -> Iterator[None]:
    over = threading.Event()

    def drip() -> None:
        connections = [_connection(port) for _ in range(SLOW_CONNECTIONS)]
        for byte in b"GET /recommend/1 HTTP/1.1\r\nX-Slow: " + b"x" * 10_000:
            for position, connection in enumerate(connections):
                try:
                    if connection:
                        connection.send(bytes([byte]))
                except OSError:  # it was cut off: another one comes
                    connection.close() if connection else None
                    connections[position] = _connection(port)
            if over.wait(0.5):
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _connection(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=2)
    except OSError:
        return None


@contextlib.contextmanager
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def scenarios(plan: Plan, other: Path, version: str) -> dict[str, Callable[[], Outcome]]:
    """The faults by name; other, version: a second registry and its version"""
    table: dict[str, Callable[[], Outcome]] = {f"kill {part}": partial(killed, plan, part) for part in PARTS}
    table["kill ingress, one of two"] = lambda: killed(plan, "ingress", ("ingress=2",))
    return table | {
        "SIGTERM": lambda: stopped(plan, group=False),
        "SIGTERM to the group": lambda: stopped(plan, group=True),
        "kill -9 of the driver, start again": lambda: leftovers(plan, "driver"),
        "kill -9 of the GCS, start again": lambda: leftovers(plan, "GCS"),
        "kill -9 of the group, start again": lambda: leftovers(plan, "group"),
        "two services": lambda: neighbours(plan, other, version),
        f"{IDLE_CONNECTIONS} idle connections": lambda: idle(plan),
        f"{SLOW_CONNECTIONS} slow connections": lambda: slow(plan),
    }
