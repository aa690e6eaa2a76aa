"""Start the service on this machine: Ray with the variables that make Serve fast, Serve, and the deployments."""

import logging
import os
import signal
import sys
import threading
from contextlib import redirect_stdout

import ray
from ray import serve

from recsys import console
from recsys.cluster import start_ray
from recsys.errors import ConfigError
from recsys.serving.app import QUIET, build_app
from recsys.serving.settings import FAST, ServeSettings


def in_fast_environment() -> None:
    """Start this program anew where a variable of FAST is missing, since Serve reads them when it is imported."""
    missing = {name: value for name, value in FAST.items() if name not in os.environ}
    if missing:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | missing)


def start(settings: ServeSettings, host: str, port: int) -> None:
    """Start the service, on the cluster at RAY_ADDRESS or on Ray of its own; raises ConfigError for a taken port."""
    with console.step("start the service"):
        start_ray()
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        try:
            serve.start(http_options={"host": host, "port": port}, logging_config=QUIET)
        except RuntimeError as error:
            if "Address already in use" not in str(error):
                raise
            raise ConfigError(
                f"port {port} or one of HAProxy's own, 9101 and 8404, is taken: by another service, or by a process "
                "haproxy that a killed one has left behind"
            ) from error
        serve.run(build_app(settings), name="recsys")
    console.line(f"recommendations at http://{host}:{port}/ (interface: /docs); Ctrl-C stops the service")


def serve_until_interrupted() -> None:
    """Wait for Ctrl-C or SIGTERM, then stop the service."""
    for number in (signal.SIGINT, signal.SIGTERM):  # set anew: a shell's background job starts with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.progress("stopping")
    finally:
        _stop()


def _stop() -> None:
    """Stop the service and leave Ray, without the lines that Ray prints when Serve's controller ends as intended."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()
