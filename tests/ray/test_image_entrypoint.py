"""The entry point of the image: what each command starts. `ray` is a program of the test, all others are real."""

import itertools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from recsys.serving.host.environment import FAST

ROOT = Path(__file__).resolve().parents[2]
ENTRYPOINT = ROOT / "docker" / "entrypoint.sh"
RAY = """#!/bin/sh
for argument; do echo "argument $argument"; done
env
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the entry point with a home, a folder for temporary files and a `ray` of its own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    ray = programs / "ray"
    ray.write_text(RAY, encoding="utf-8")
    ray.chmod(0o755)
    python = programs / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    command = programs / "recsys"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m recsys "$@"\n', encoding="utf-8")
    for program in (python, command):
        program.chmod(0o755)

    def start(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment = kept | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.run(
            [str(ENTRYPOINT), *arguments],
            env=environment | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    return start


def started(done: subprocess.CompletedProcess[str]) -> tuple[list[str], dict[str, str]]:
    """The arguments and the environment with which `ray` was started."""
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    arguments = [line.removeprefix("argument ") for line in lines if line.startswith("argument ")]
    return arguments, dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.mark.parametrize("command", ["head", "worker"])
def test_a_node_needs_the_token_of_the_cluster(run: Run, tmp_path: Path, command: str) -> None:
    refused = run(command)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.splitlines() == [
        f"recsys: {command} needs the token of the cluster: set RAY_AUTH_TOKEN, or mount a file at "
        f"{tmp_path}/.ray/auth_token"
    ]
    assert run(command, RAY_AUTH_TOKEN="t").returncode == 0
    file = tmp_path / "token"
    assert run(command, RAY_AUTH_TOKEN_PATH=str(file)).returncode == 2
    file.write_text("t", encoding="utf-8")
    assert run(command, RAY_AUTH_TOKEN_PATH=str(file)).returncode == 0


def test_a_head_finds_the_variables_of_serve(run: Run, tmp_path: Path) -> None:
    arguments, environment = started(run("head", "--num-cpus", "3", RAY_AUTH_TOKEN="t", RAY_AUTH_MODE="disabled"))
    assert arguments[:3] == ["start", "--head", "--block"]
    assert arguments[-2:] == ["--num-cpus", "3"]
    assert ("--metrics-export-port", "8080") in itertools.pairwise(arguments)
    assert {name: environment[name] for name in FAST} == FAST
    assert environment["RAY_AUTH_MODE"] == "token"
    assert float(environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]) < 10
    launcher = Path(environment["RAY_SERVE_HAPROXY_BINARY_PATH"])
    assert os.access(launcher, os.X_OK)
    assert tmp_path in launcher.parents


def test_a_worker_joins_the_address(run: Run) -> None:
    arguments, environment = started(
        run(
            *("worker", "--address", "head:6379"),
            RAY_AUTH_TOKEN="t",
            RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="60",
            RECSYS_METRICS_PORT="9000",
        )
    )
    assert arguments == ["start", "--block", "--metrics-export-port", "9000", "--address", "head:6379"]
    assert environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "60"
    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == "1"


def test_serve_listens_on_all_addresses(run: Run, tmp_path: Path) -> None:
    """The port is taken here, so the command tells where it wanted to listen."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # another process has it, which does as well
            taken.bind(("127.0.0.1", 8000))
            taken.listen()
        for command in (["serve"], []):
            done = run(*command)
            assert done.returncode == 2
            assert "port 8000 of 0.0.0.0 is taken" in done.stderr
    assert (tmp_path / "recsys-command").read_text(encoding="utf-8") == "serve\n"
    assert "--host 256.0.0.1 --port 8000" in run("serve", "--host", "256.0.0.1").stderr


def test_other_words_are_commands_of_recsys(run: Run, tmp_path: Path) -> None:
    refused = run("train", "--data", "absent")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "'absent' does not exist" in refused.stderr
    assert (tmp_path / "recsys-command").read_text(encoding="utf-8") == "train\n"
    assert run("--version").stdout.startswith("recsys, version ")
    # It is the command that the container was started with, which the health check looks at.
    assert (tmp_path / "recsys-command").read_text(encoding="utf-8") == "train\n"
    assert run("python", "-c", "print(6 * 7)").stdout == "42\n"
    arguments, _ = started(run("ray", "job", "submit"))
    assert arguments == ["job", "submit"]


def test_the_shell_of_the_image_can_run_it() -> None:
    """Debian's sh is dash; here it may be another one."""
    assert ENTRYPOINT.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    assert os.access(ENTRYPOINT, os.X_OK)
    if shutil.which("dash"):
        subprocess.run(["dash", "-n", str(ENTRYPOINT)], check=True)
