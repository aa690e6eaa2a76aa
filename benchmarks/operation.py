"""A week of operation in minutes: train from S3, serve, retrain behind the gate, roll back, lose a node.

    python benchmarks/operation.py [--scale S] [--json FILE]

Starts an S3 server, Prometheus, and a Ray cluster of three nodes with a token. Submits a training from s3://, and
serves two replicas of each stage under a load that compares every answer with that of its version in one process.
Meanwhile new data come: one retraining is refused by a gate, one is kept, one is promoted. Then the version is rolled
back, and a node is killed. Needs prometheus of Debian.

The exit code is 1 where a request failed, an answer was wrong, a retraining ended otherwise, or a query of the
dashboard had no data.
"""

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

BENCHMARKS: Final = Path(__file__).resolve().parent
ROOT: Final = BENCHMARKS.parent
sys.path.insert(0, str(ROOT))

from isolation import free_port  # noqa: E402

from recsys.serving.host.environment import service_environment, write_launcher  # noqa: E402
from recsys.serving.host.folder import ServiceFolder, service_folder  # noqa: E402
from tests.support.buckets import server  # noqa: E402


def environment(folder: Path, own: ServiceFolder, s3: str) -> dict[str, str]:
    """Variables of the nodes: those of the service, a token, the bucket, and files apart from other Rays."""
    return service_environment(own) | {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),  # jobs say `python`
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(BENCHMARKS))),
        "RAY_TMPDIR": str(folder),
        "RAY_ADDRESS": "",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray declares a node dead after two failed checks, one second apart.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "2",
        "RAY_metrics_report_interval_ms": "1000",
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
        "AWS_EC2_METADATA_DISABLED": "true",
        "RECSYS_CACHE": str(folder / "cache"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--scale", type=float, default=0.05, help="of the synthetic shop")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="op-"))
    out = arguments.json or folder / "steps.json"
    s3 = f"http://127.0.0.1:{free_port()}"
    try:
        with service_folder() as own, server(s3, folder / "s3.log"):
            write_launcher(own.path)
            week = ["operation_parts.week", str(folder), str(arguments.scale), str(out.absolute())]
            variables = os.environ | environment(folder, own, s3)
            ended = subprocess.run([sys.executable, "-m", *week], cwd=BENCHMARKS, env=variables, check=False)
            return ended.returncode
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
