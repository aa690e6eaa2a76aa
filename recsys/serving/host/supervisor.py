"""A service in a session of its own: one process takes the signals, and leaves nothing behind at the end."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from recsys.errors import ConfigError
from recsys.serving.host.environment import check_ports, service_environment, write_launcher
from recsys.serving.host.folder import ServiceFolder, claim, service_folder
from recsys.serving.host.haproxy import end_with_parent

FOLDER: Final = "RECSYS_SERVICE_FOLDER"
"""The environment variable that gives the process that serves its supervisor's pid and the service's folder."""
STOP_SECONDS: Final = 8
"""Time in which a service ends after the first signal; containers are killed after ten seconds."""
OPEN_FILES: Final = 10_300
"""Descriptors that HAProxy needs for its connections."""


def begin_child() -> Path | None:
    """The folder of the service, in the process that `supervise` started; None in any other process.

    The process is told to stop as soon as its supervisor is killed.
    """
    supervisor, _, folder = os.environ.pop(FOLDER, "").partition(" ")
    if not folder:
        return None
    end_with_parent(int(supervisor), signal.SIGTERM)
    return Path(folder)


def supervise(port: int) -> int:
    """Run this program again, with a folder and ports of its own, in a session of its own; its exit code.

    Ray and everything else that the service starts belong to that session, so a signal to a terminal's or a container's
    process group reaches this process alone. It passes the first one on, and ends the whole session at the second one,
    or where the service has not ended after STOP_SECONDS.

    port: of the HTTP interface; raises ConfigError where another service that starts has it, see also `service_folder`
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit != resource.RLIM_INFINITY and limit < OPEN_FILES:
        raise ConfigError(f"this process may open {limit} files (ulimit -Hn), HAProxy needs {OPEN_FILES}")
    check_ports()
    claimed = claim(f"port-{port}")
    if claimed is None:
        raise ConfigError(f"port {port} is taken by another service that starts; choose another one by --port")
    with closing(claimed), service_folder() as folder:
        return _Supervisor(folder).run()


class _Supervisor:
    """Starts the process that serves, and ends it."""

    def __init__(self, folder: ServiceFolder) -> None:
        self._folder = folder
        self._child: int | None = None
        self._signals = 0

    def run(self) -> int:
        """The exit code of the process that serves."""
        write_launcher(self._folder.path)
        environment = service_environment(self._folder) | {FOLDER: f"{os.getpid()} {self._folder.path}"}
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some parents leave it, it would hide the exit code
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # which `nohup` sets
                signal.signal(number, self._stop)
        signal.signal(signal.SIGALRM, self._end)
        command = [sys.executable, *sys.orig_argv[1:]]
        process = subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=(self._folder.lock,))
        self._child = process.pid
        if self._signals:  # one that came before there was a child
            self._signals = 0
            self._stop()
        code = process.returncode = _wait(process.pid)
        signal.alarm(0)
        end_session(process.pid)
        return 128 - code if code < 0 else code

    def _stop(self, *_: Any) -> None:
        self._signals += 1
        if self._child is None:
            return
        if self._signals > 1:
            end_session(self._child)
            return
        signal.alarm(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGTERM)

    def _end(self, *_: Any) -> None:
        if self._child is not None:
            end_session(self._child)


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
