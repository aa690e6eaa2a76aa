"""Training as a submitted job, on a cluster of its own with token authentication."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from recsys.registry.folder import FolderStore
from tests.support.processes import family, free_port, wait_until
from tests.support.shop_data import train_arguments, write_shop
from tests.support.trained import metrics_of

ROOT = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).parent / "ray")


@dataclass(frozen=True)
class Cluster:
    """address: of the dashboard; environment: of someone who has the token"""

    address: str
    environment: dict[str, str]

    def submit(self, arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [RAY, "job", "submit", "--address", self.address, "--working-dir", ".", "--"]
        return subprocess.run(
            [*command, "python", "train_job.py", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )


def environment_of(home: Path) -> dict[str, str]:
    """Of a person whose home folder this is and whose `python` is this one; nothing of the tests' own Ray."""
    left_out = ("RAY_AUTH_TOKEN", "RAY_ADDRESS", "PYTHONPATH")
    own = {name: value for name, value in os.environ.items() if name not in left_out}
    path = os.pathsep.join((str(Path(sys.executable).parent), own["PATH"]))
    return own | {"HOME": str(home), "PATH": path, "RAY_AUTH_MODE": "token"}


def answers(url: str) -> bool:
    """Whether a server answers there, be it that it asks for a token."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except OSError:
        return False


def takes_jobs(dashboard: str, agent: int) -> bool:
    """Whether a job can be submitted.

    The dashboard answers first. It hands a job to the agent of the head node, and refuses the job with "No available
    agent to submit job" where that agent is not there within 10 seconds. So the agent has to listen, too.
    """
    return answers(f"{dashboard}/api/version") and answers(f"http://127.0.0.1:{agent}/api/local_raylet_healthz")


def stop(head: subprocess.Popen[bytes]) -> None:
    """End this cluster's processes by their ids; `ray stop` would end those of every cluster here."""
    for process in family(head.pid):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    head.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("home")
    environment = environment_of(home)
    subprocess.run([RAY, "get-auth-token", "--generate"], env=environment, check=True, capture_output=True)
    port, dashboard, agent = free_port(), free_port(), free_port()
    # Ray makes sockets in there, whose paths may have 107 bytes
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    command = [RAY, "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1", f"--port={port}"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    command += [f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder}", "--object-store-memory=400000000"]
    with (home / "head.log").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{dashboard}"
            wait_until(lambda: head.poll() is not None or takes_jobs(address, agent), 120)
            if head.poll() is not None:
                pytest.fail(f"the head ended:\n{(home / 'head.log').read_text()}")
            yield Cluster(address, environment)
        finally:
            stop(head)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.soak(5)
def test_a_submitted_job_trains_and_publishes(cluster: Cluster, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    done = cluster.submit(train_arguments(write_shop(tmp_path / "data"), registry), cluster.environment)
    logs = done.stdout + done.stderr
    assert done.returncode == 0, logs
    for step in ("read and check the data", "build the ranking examples", "evaluate on the test window", "publish"):
        assert logs.count(f"{step} took") == 1, logs
    version = FolderStore(registry).production()
    assert f"published {version}" in logs
    assert metrics_of(registry)["table"]


def test_without_the_token_nothing_is_accepted(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{cluster.address}/api/jobs/", timeout=10)
    stranger = environment_of(tmp_path)
    stranger.pop("RAY_AUTH_MODE")
    done = cluster.submit(["--data", str(tmp_path), "--registry", str(tmp_path / "registry")], stranger)
    assert done.returncode != 0
    assert "401" in done.stdout + done.stderr or "Unauthorized" in done.stdout + done.stderr
    assert not (tmp_path / "registry").exists()
