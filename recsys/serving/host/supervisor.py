"""A service in a session of its own: one process takes the signals, and leaves nothing behind at the end."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from recsys.serving.host.environment import service_environment, write_launcher
from recsys.serving.host.folder import ServiceFolder, service_folder
from recsys.serving.host.haproxy import end_with_parent

FOLDER: Final = "RECSYS_SERVICE_FOLDER"
"""The environment variable that names the service's folder to the process that serves."""
STOP_SECONDS: Final = 9
"""Time in which a service ends after the first signal; containers are killed after ten seconds."""


def begin_child() -> Path | None:
    """The folder of the service, in the process that `supervise` started; None in any other process.

    The process is told to stop as soon as its supervisor is killed.
    """
    name = os.environ.pop(FOLDER, None)
    if name is None:
        return None
    end_with_parent(os.getppid(), signal.SIGTERM)
    return Path(name)


def supervise() -> int:
    """Run this program again, with a folder and ports of its own, in a session of its own; its exit code.

    Ray and everything else that the service starts belong to that session, so a signal to a terminal's or a container's
    process group reaches this process alone. It passes the first one on, and ends the whole session at the second one,
    or where the service has not ended after STOP_SECONDS. Raises ConfigError, see `service_folder`.
    """
    with service_folder() as folder:
        return _run(folder)


def _run(folder: ServiceFolder) -> int:
    write_launcher(folder.path)
    environment = service_environment(folder) | {FOLDER: str(folder.path)}
    child = subprocess.Popen([sys.executable, *sys.orig_argv[1:]], env=environment, start_new_session=True)
    stopping = False

    def stop(*_: Any) -> None:
        nonlocal stopping
        if stopping:
            end_session(child.pid)
        stopping = True
        signal.alarm(STOP_SECONDS)
        with suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    signal.signal(signal.SIGALRM, lambda *_: end_session(child.pid))
    code = _wait(child.pid)
    signal.alarm(0)
    end_session(child.pid)
    return 128 - code if code < 0 else code


def _wait(pid: int) -> int:
    """The exit code of a child; others that end meanwhile, as orphans of a container's first process do, are reaped."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            return os.waitstatus_to_exitcode(status)


def end_session(leader: int) -> None:
    """Kill all processes of a session; leader: its pid"""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
            if int(fields[3]) == leader:  # after the name: state, parent, process group, session
                os.kill(int(path.parent.name), signal.SIGKILL)
