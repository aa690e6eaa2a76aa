"""Docker, or Podman where no daemon runs: containers of the image, as a person starts them."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys.errors import RecsysError

PODMAN: Final = """\
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
[network]
network_backend = "netavark"
"""
"""Settings with which root's Podman needs neither systemd nor the right to raise limits."""
STRICT: Final = (
    *("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
    *("--tmpfs", "/tmp:rw,exec,mode=1777", "--tmpfs", "/home/recsys:rw,mode=1777"),
    *("--memory", "8g", "--shm-size", "3g", "--no-healthcheck"),
)
"""Options of a container that writes in the named folders alone; Ray wants 30% of the memory in /dev/shm.

The health check is called by hand: Podman runs it by systemd alone."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A program that runs containers; prefix: of the names of all containers, volumes and networks of this run."""

    program: str
    environment: dict[str, str]
    prefix: str

    def call(self, *arguments: str, check: bool = True, seconds: float = 900) -> "subprocess.CompletedProcess[str]":
        """Run a command of the engine; raises RecsysError where it fails and `check` is set."""
        command = [self.program, *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode:
            raise RecsysError(f"{' '.join(command[:4])} … ended with {done.returncode}: {done.stderr[-2000:]}")
        return done

    def with_token(self, token: str) -> "Engine":
        """The same, whose environment has Ray's token; `--env RAY_AUTH_TOKEN` hands it on."""
        return Engine(self.program, self.environment | {"RAY_AUTH_TOKEN": token}, self.prefix)

    def state(self, name: str, field: str) -> str:
        """A field of a container's state, such as ExitCode."""
        return self.call("inspect", "--format", f"{{{{.State.{field}}}}}", name).stdout.strip()

    @contextmanager
    def container(self, name: str, options: tuple[str, ...], *command: str) -> Iterator[str]:
        """A container in the background; its name. It is removed at the end."""
        full = f"{self.prefix}-{name}"
        self.call("run", "--detach", "--name", full, "--hostname", full, *options, *command)
        try:
            yield full
        finally:
            self.call("rm", "--force", full, check=False)

    def log(self, name: str) -> str:
        """The end of what a container has printed."""
        done = self.call("logs", name, check=False)
        return (done.stdout + done.stderr)[-2000:]

    def stop(self, name: str) -> tuple[float, int]:
        """Send SIGTERM; the seconds until the container had ended, and its exit code. Raises RecsysError after 30 s."""
        started = time.monotonic()
        self.call("kill", "--signal", "TERM", name)
        while self.state(name, "Running") == "true":
            if time.monotonic() - started > 30:
                raise RecsysError(f"{name} has not ended 30 s after SIGTERM: {self.log(name)}")
            time.sleep(0.1)
        return time.monotonic() - started, int(self.state(name, "ExitCode"))


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """The engine of this machine, with a volume and a network for this run; folder: for its settings.

    Raises RecsysError where there is none.
    """
    prefix = f"recsys-{secrets.token_hex(3)}"
    running = (
        shutil.which("docker") and not subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    )
    if running:
        found = Engine("docker", dict(os.environ), prefix)
    elif shutil.which("podman"):
        settings = folder / "containers.conf"
        settings.write_text(PODMAN, encoding="utf-8")
        found = Engine("podman", os.environ | {"CONTAINERS_CONF": str(settings)}, prefix)
    else:
        raise RecsysError("neither Docker nor Podman runs here: see docs/how-to/image.md")
    try:
        found.call("volume", "create", prefix)
        found.call("network", "create", prefix)
        yield found
    finally:
        found.call("network", "rm", prefix, check=False)
        found.call("volume", "rm", "--force", prefix, check=False)
