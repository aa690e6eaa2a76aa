"""Fixtures that all tests share, such as one Ray instance a process, and the environment variables of the tests."""

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recsys.serving.host.environment import service_environment, write_launcher, write_limits
from recsys.serving.host.folder import service_folder
from recsys.serving.host.haproxy import Limits
from tests.support import buckets
from tests.support.processes import free_port
from tests.support.soak import SOAK

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
"""Options of Chromium."""


# They are set before anything imports ray, polars or numpy: these read their variables once. Processes that tests
# start inherit them. The token keeps authentication on without a file in the home folder.
SERVICE = contextlib.ExitStack()
"""The folder of the services of this process, with ports of its own."""
_folder = SERVICE.enter_context(service_folder())
write_launcher(_folder.path)
write_limits(_folder.path, Limits(queue_ms=20_000, response_ms=30_000))  # busy machines are slow, no request may fail
os.environ |= service_environment(_folder) | {
    "PYTHONPATH": os.pathsep.join(  # Ray's workers import test modules for their functions
        filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    ),
    "RAY_ADDRESS": "local",  # a program of one test must not join a cluster that another test runs meanwhile
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # Ray Train sees so soon that a worker ended
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "1",  # implicit warns otherwise, and warnings are errors
    "POLARS_MAX_THREADS": "2",
    # The S3 server of the tests takes any credentials.
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
    "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
    "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "RECSYS_CACHE": tempfile.mkdtemp(prefix="recsys-cache-"),
}
OWN = (
    "RAY_API_SERVER_ADDRESS",
    "MODEL_VERSION",
    "MF_ALPHA",
    "S3_BUCKET",
    "RECSYS_CACHE_GB",
    "API_KEYS",
    "API_KEYS_FILE",
)
OWN_AWS = ("ENDPOINT_URL_S3", "PROFILE", "SESSION_TOKEN", "REGION", "DEFAULT_REGION", "MAX_ATTEMPTS", "RETRY_MODE")
for name in (*OWN, *(f"AWS_{rest}" for rest in OWN_AWS)):
    os.environ.pop(name, None)  # the tests must not reach a person's own cluster, registry or bucket


LONGEST = (
    *("training_sweep", "serving_faults", "training_distributed", "serving_graph", "cases", "scripts", "jobs_train"),
    *("data_ingest", "registry_s3", "extension", "s3", "data_s3", "notebooks", "serving_keys", "serving_page"),
    *("studies_phases", "cli", "registry_store"),
)
"""The modules of tests/ray and tests/browser that take longest, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the longest files to the front, so that no process waits for a long file at the end."""
    ranks = {f"test_{name}": rank for rank, name in enumerate(LONGEST)}
    in_unit = ROOT / "tests" / "unit"
    items.sort(key=lambda item: (item.path.parent == in_unit, ranks.get(item.path.stem, len(ranks))))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat tests that are marked `soak`, in a long run only."""
    marker = metafunc.definition.get_closest_marker("soak")
    if SOAK and marker is not None:
        metafunc.fixturenames.append("turn")
        metafunc.parametrize("turn", range(marker.args[0]))


def pytest_sessionfinish() -> None:
    SERVICE.close()
    shutil.rmtree(os.environ["RECSYS_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of tests marked `anyio`."""
    return "asyncio"


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray instance with two CPUs, alive until the last test."""
    import ray  # here, so that tests without Ray do not pay for its import
    from ray.data import DataContext

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=768 * 2**20,
        logging_level=logging.WARNING,
        log_to_driver=False,
    )
    DataContext.get_current().print_on_execution_start = False
    try:
        yield
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium; without it the test is skipped, or fails where RECSYS_REQUIRE_SHARED=1.

    Closed with its module: Playwright's event loop runs as long, and no other can meanwhile.
    """
    from playwright.sync_api import sync_playwright  # here, so that tests without a browser do not pay for its import

    if not CHROMIUM.exists():
        reason = f"no browser at {CHROMIUM}; Debian's package is called chromium"
        if os.environ.get("RECSYS_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an S3 server, alive until the last test."""
    url = os.environ["AWS_ENDPOINT_URL"]
    with buckets.server(url, tmp_path_factory.mktemp("s3") / "server.log"):
        yield url


@pytest.fixture
def bucket(s3_server: str) -> str:
    """The URI of a new, empty bucket."""
    name = f"shop-{uuid.uuid4().hex}"
    with urllib.request.urlopen(urllib.request.Request(f"{s3_server}/{name}", method="PUT"), timeout=60):
        return f"s3://{name}"


@pytest.fixture
def faults(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[buckets.Proxy]:
    """A proxy that all requests of this process to S3 pass."""
    with buckets.proxy(s3_server) as proxied:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxied.url)
        yield proxied


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; without it the test is skipped.

    RECSYS_REQUIRE_SHARED=1 (set by .ci/run where the folder exists) turns the skip into a failure.
    """
    folder = ROOT.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    reason = f"no real data at {folder}"
    if os.environ.get("RECSYS_REQUIRE_SHARED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
