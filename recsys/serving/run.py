"""Start the service on this machine: Ray with the variables that make Serve fast, Serve, and the deployments."""

import logging
import os
import re
import signal
import threading
from contextlib import redirect_stdout, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

import ray
from ray import serve

from recsys import console
from recsys.cluster import has_own_ray, node_cpus, start_ray
from recsys.errors import ConfigError
from recsys.serving.app import QUIET, build_app
from recsys.serving.host.environment import metrics_port, write_limits
from recsys.serving.host.haproxy import Limits, drain
from recsys.serving.settings import ServeSettings

STOPS: Final = (signal.SIGINT, signal.SIGTERM)
"""Signals that stop the service."""
DRAIN_SECONDS: Final = 4.0
"""Time in which requests under way may end after a signal."""
ANSWER_SECONDS: Final = 2.0
"""Time in which a service that is ready answers `/health`."""


def serve_until_interrupted(settings: ServeSettings, host: str, port: int, folder: Path) -> None:
    """Start the service and wait for Ctrl-C or SIGTERM; then finish the requests under way and stop.

    It runs on the cluster at RAY_ADDRESS or on Ray of its own. Raises ConfigError where it does not fit or a port is
    taken, KeyboardInterrupt where it is interrupted before it serves. folder: of this service alone
    """
    write_limits(folder, _limits(settings))
    try:
        with console.step("start the service"):
            start_ray(metrics_port())
            for number in STOPS:  # set anew: Ray has set its own, and a shell's background job ignores SIGINT
                signal.signal(number, signal.default_int_handler)
            _check_cpus(settings)
            goes_on = _start(settings, host, port)
        with suppress(KeyboardInterrupt):
            if goes_on:
                console.line(f"recommendations at http://{host}:{port}/ (interface: /docs); Ctrl-C stops the service")
                threading.Event().wait()
        console.progress("stopping")
    finally:
        for number in STOPS:  # the supervisor ends the service where this takes too long
            signal.signal(number, signal.SIG_IGN)
        drain(folder, DRAIN_SECONDS)
        _stop()


def _start(settings: ServeSettings, host: str, port: int) -> bool:
    """Whether the service goes on: False where it answered already when a signal came."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        serve.start(http_options={"host": host, "port": port}, logging_config=QUIET)
    except RuntimeError as error:
        match = re.search(r"cannot bind socket \(Address already in use\) for \[(\S+)\]", str(error))
        if match is None:
            raise
        raise ConfigError(f"{match[1]} was taken by another process while the service started") from error
    try:
        serve.run(build_app(settings), name="recsys")
    except KeyboardInterrupt:  # answers come some time before `run` returns
        if not answers(host, port):
            raise
        return False
    return True


def answers(host: str, port: int) -> bool:
    """Whether a service at this address is ready."""
    connection = HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _limits(settings: ServeSettings) -> Limits:
    """Limits of HAProxy with which requests wait there for half of the deadline at most."""
    return Limits(queue_ms=settings.deadline_ms // 2, response_ms=settings.deadline_ms + 1000)


def _check_cpus(settings: ServeSettings) -> None:
    """Raise ConfigError where the fewest replicas need more CPUs than a Ray of this service's own has."""
    stages = (settings.candidates, settings.factors, settings.rank) if settings.topology == "graph" else ()
    replicas = sum(low for low, _ in (settings.ingress, *stages))
    needed, cpus = replicas * settings.cpus, sum(node_cpus())
    if has_own_ray() and needed > cpus:
        raise ConfigError(
            f"{replicas} replicas of {settings.cpus:g} CPUs each need {needed:g} CPUs, and this machine has {cpus:g}: "
            "choose fewer replicas, or a smaller `cpus`"
        )


def _stop() -> None:
    """Stop the service and leave Ray, without the lines that Ray prints when Serve's controller ends as intended."""
    if not ray.is_initialized():
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        if not has_own_ray():  # a Ray of this service's own ends with everything in it
            serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()
