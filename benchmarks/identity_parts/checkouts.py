"""Runs a checkout's own programs, each with its own `recsys` and a Ray of its own."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx
import psutil
from isolation import free_port, own_ray

from recsys.errors import RecsysError

START_SECONDS: Final = 180
STOP_SECONDS: Final = 60
ANSWER_SECONDS: Final = 30
FOREIGN: Final = ("MODEL_VERSION", "MF_ALPHA", "S3_BUCKET", "RAY_API_SERVER_ADDRESS")
"""Variables of the person's own shop, which would change what is trained or served."""


def train(checkout: Path, data: str, settings: Sequence[str], registry: Path) -> None:
    """Raises RecsysError where training fails."""
    with tempfile.TemporaryDirectory(prefix="identity-work-") as work:
        command = ["train_job.py", "--data", data, "--registry", str(registry), "--work", work]
        run(checkout, [*command, *(part for one in settings for part in ("--set", one))], registry.parent / "train.log")


def recommend(checkout: Path, registry: Path, users: Path, n: int, out: Path) -> None:
    """Raises RecsysError where the batch fails."""
    command = ["-m", "recsys", "recommend", "--registry", str(registry), "--users", str(users)]
    run(checkout, [*command, "--n", str(n), "--out", str(out)], out.parent / "recommend.log")


def run(checkout: Path, arguments: Sequence[str], log: Path) -> None:
    """A Python program of the checkout, in its folder; raises RecsysError with the end of its output."""
    with tempfile.TemporaryDirectory(prefix="ray-") as scratch, log.open("w", encoding="utf-8") as output:
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=checkout,
            env=environment(checkout, Path(scratch)),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode:
        raise RecsysError(f"{arguments[0]} of {checkout} ended with exit code {ended.returncode}: {tail(log)}")


@contextmanager
def served(checkout: Path, registry: Path, log: Path) -> Iterator[httpx.Client]:
    """A client of the checkout's service, once it is ready; raises RecsysError where it does not get so far."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch:
        with log.open("w", encoding="utf-8") as output:
            child = subprocess.Popen(
                [sys.executable, "serve_app.py", "--registry", str(registry), "--port", str(port)],
                cwd=checkout,
                env=environment(checkout, Path(scratch)),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_SECONDS, trust_env=False) as client:
                wait_until_healthy(child, client, log)
                yield client
        finally:
            stop(child)


def environment(checkout: Path, scratch: Path) -> dict[str, str]:
    """Variables with which a program imports the checkout's `recsys`, starts a Ray of its own, and leaves no bytecode
    in the checkout; its service keeps apart from others on the machine."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return kept | own_ray(scratch) | {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}


def wait_until_healthy(child: "subprocess.Popen[bytes]", client: httpx.Client, log: Path) -> None:
    """Until /health answers 200."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        with suppress(httpx.TransportError):
            if client.get("/health").status_code == httpx.codes.OK:
                return
        time.sleep(0.2)
    raise RecsysError(f"the service is not ready, exit code {child.poll()}: {tail(log)}")


def stop(child: "subprocess.Popen[bytes]") -> None:
    """Interrupt the service and wait for it; those of its processes that outlive it are killed."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(child.pid).children(recursive=True)
    child.send_signal(signal.SIGINT)
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]
