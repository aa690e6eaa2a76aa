"""Scripts and commands as a person starts them, each in a process of its own."""

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from recsys.serving.host.environment import FAST
from tests.support.processes import family, free_port, wait_until
from tests.support.trained import trained_shop

ROOT = Path(__file__).resolve().parents[2]


def test_the_script_ends_with_the_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train_job.py"), "--data", str(tmp_path / "absent")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def serve_app(*arguments: str) -> subprocess.Popen[str]:
    """The service, started as a shell starts a background job: in a process group of its own, with SIGINT ignored."""
    ignoring = "import os, signal, sys; signal.signal(2, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    return subprocess.Popen(
        [sys.executable, "-c", ignoring, sys.executable, str(ROOT / "serve_app.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_SERVE_")},
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("--registry", "{}/absent"), "absent"), (("--registry", "{}", "--set", "topology=star"), "topology")],
)
def test_what_cannot_be_served_is_one_line(arguments: tuple[str, ...], named: str, tmp_path: Path) -> None:
    with serve_app(*(argument.format(tmp_path) for argument in arguments)) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    [line] = err.splitlines()
    assert line.startswith("error: ")
    assert named in line


def open_sockets(pid: int) -> list[tuple[str, int]]:
    """The process and the port of each socket of a service that listens beyond this host."""
    sockets = []
    for one in family(pid):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(one)
            name = next((part for part in process.cmdline() if part.endswith(".py")), process.cmdline()[0])
            owner = re.match(r"(ray::)?\w+", Path(name).name)
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.ip not in ("127.0.0.1", "::1"):
                    sockets.append((owner[0] if owner else name, connection.laddr.port))
    return sockets


def test_the_script_serves_until_it_is_told_to_stop(
    ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    trained, port = trained_shop(tmp_path_factory), free_port()

    def healthy() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/health")
            response = connection.getresponse()
            body = response.read()
            return response.status == 200 and json.loads(body)["model_version"] == trained.version
        except OSError:
            return False
        finally:
            connection.close()

    with serve_app("--registry", str(trained.registry), "--port", str(port), "--set", "topology=fused") as process:
        try:
            wait_until(lambda: process.poll() is not None or healthy(), 180)
            address = process.stdout.readline() if process.stdout else ""
            listening = open_sockets(process.pid)
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=80)
        finally:
            process.kill()
    assert f"http://127.0.0.1:{port}/" in address
    assert (process.returncode, "Traceback" in err, "infinite" in err) == (0, False, False)
    assert {owner for owner, _ in listening} >= {"gcs_server", "raylet", "ray::ServeReplica"}
    documented = (ROOT / "docs" / "reference" / "ports.md").read_text()
    assert [(owner, port) for owner, port in listening if f"`{owner}`" not in documented] == []


def test_a_node_of_the_cluster_sets_the_environment_before_ray_starts(tmp_path: Path) -> None:
    """The commands are run here, up to Ray's start."""
    cluster: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    [write] = [command for command in cluster["setup_commands"] if "printf" in command]
    file, python = tmp_path / "recsys.env", shlex.quote(sys.executable)
    here = {"/home/ray/recsys.env": str(file), "/home/ray/service": str(tmp_path / "service")}
    for there, place in here.items():
        write = write.replace(there, shlex.quote(place))
    write = write.replace("cd /home/ray/recsys ", f"cd {shlex.quote(str(ROOT))} ").replace("python -m", f"{python} -m")
    subprocess.run(["bash", "-c", write], check=True)
    shown = subprocess.run(
        ["bash", "-c", f". {shlex.quote(str(file))}; env"], check=True, capture_output=True, text=True
    )
    found = dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
    assert {name: found.get(name) for name in FAST} == FAST
    assert found["RAY_AUTH_MODE"] == "token"
    assert os.access(found["RAY_SERVE_HAPROXY_BINARY_PATH"], os.X_OK)
    for commands in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        [start] = [command for command in commands if "ray start" in command]
        assert start.startswith(". /home/ray/recsys.env;")
    assert cluster["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
