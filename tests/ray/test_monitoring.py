"""The files of deploy/monitoring, as Prometheus's own tool reads them."""

import shutil
import subprocess

import pytest

from tests.support.modules import ROOT

FILES = ROOT / "deploy" / "monitoring"
PROMTOOL = shutil.which("promtool") or ""
pytestmark = pytest.mark.skipif(not PROMTOOL, reason="promtool is in Debian's package prometheus")


@pytest.mark.parametrize(
    "command",
    [("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")],
    ids=" ".join,
)
def test_promtool_accepts(command: tuple[str, ...]) -> None:
    ended = subprocess.run([PROMTOOL, *command], cwd=FILES, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
