"""`serve_app.py`: start everything here, Ray with the variables that make Serve fast, Serve itself, the service."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence

from ray import serve

from recsys import console, logs
from recsys.cluster import start_ray
from recsys.config import parse_config, with_settings
from recsys.errors import ConfigError
from recsys.registry.locate import REGISTRY_HELP, absolute, default_registry, open_store
from recsys.serving.app import QUIET, build_app
from recsys.serving.settings import FAST, ServeSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """See the README for the options."""
    parser = argparse.ArgumentParser(prog="serve_app.py", description="Serve recommendations over HTTP.")
    parser.add_argument("--registry", metavar="URI", help=REGISTRY_HELP)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=8000)
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting of the service; may be repeated",
    )
    options = parser.parse_args(arguments)
    in_fast_environment()

    def command() -> None:
        registry = absolute(options.registry or default_registry())
        settings = parse_config(ServeSettings, with_settings({"registry": registry}, options.settings))
        store = open_store(settings.registry)
        if settings.version or store.pointer() is None:
            store.path(settings.version)  # says what is missing
        start(settings, options.host, options.port)
        serve_until_interrupted()

    logs.configure_logging()
    return console.guarded(command)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port, expected 1 to 65535")
    return int(text)


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
