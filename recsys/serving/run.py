"""Start the service on this machine: Ray with the variables that make Serve fast, Serve, and the deployments."""

import os
import signal
import sys
import threading

from ray import serve

from recsys import console
from recsys.cluster import start_ray
from recsys.errors import ConfigError
from recsys.serving.app import QUIET, build_app
from recsys.serving.settings import FAST, ServeSettings


def in_fast_environment() -> None:
    """Start this program anew where a variable of FAST is missing: Serve reads them when it is imported."""
    missing = {name: value for name, value in FAST.items() if name not in os.environ}
    if missing:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | missing)


def start(settings: ServeSettings, host: str, port: int) -> None:
    """Bring the service up on this Ray cluster, or on one of its own."""
    start_ray()
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
    console.line(f"recommendations at http://{host}:{port}/ (interface: /docs)")


def serve_until_interrupted() -> None:
    """Wait for Ctrl-C or SIGTERM, then stop the service."""
    for number in (signal.SIGINT, signal.SIGTERM):  # set anew: a shell's background job starts with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.progress("stopping")
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
