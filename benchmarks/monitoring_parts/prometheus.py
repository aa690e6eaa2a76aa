"""A real Prometheus with the files of deploy/monitoring, their times shortened."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from faults_parts.services import wait_until

from recsys.errors import RecsysError

SCRAPE_SECONDS: Final = 2
WINDOW: Final = "20s"
"""Replaces every window of the alerts' rates, and the dashboards' `$__rate_interval`."""
READY_SECONDS: Final = 30
SHORTER: Final = (
    (re.compile(r"\[\d+m\]"), f"[{WINDOW}]"),
    (re.compile(r"for: \d+m"), "for: 2s"),
    (re.compile(r"> 300$", re.MULTILINE), "> 5"),
)
"""What is replaced in the alerts. The thresholds of ratios, times of requests and ages of versions stay."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    port: int

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression now: their labels under `metric`, time and value under `value`."""
        asked = urllib.parse.urlencode({"query": expression})
        result: list[dict[str, Any]] = self._get(f"/api/v1/query?{asked}")["result"]
        return result

    def firing(self) -> dict[str, str]:
        """The alerts that fire, with their summaries."""
        alerts = self._get("/api/v1/alerts")["alerts"]
        return {
            alert["labels"]["alertname"]: alert["annotations"]["summary"]
            for alert in alerts
            if alert["state"] == "firing"
        }

    def ready(self) -> bool:
        """Whether it takes queries."""
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return json.loads(answer.read())["data"]


def check_prometheus() -> None:
    """Raise RecsysError where Prometheus is not installed."""
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            raise RecsysError(f"{program} is not installed; it is in Debian's package prometheus")


@contextmanager
def running(files: Path, folder: Path, port: int, exporters: Sequence[int], haproxy: int) -> Iterator[Prometheus]:
    """A Prometheus that scrapes a service; files: deploy/monitoring; folder: empty, for its data.

    exporters: the ports of the nodes' exporters; haproxy: the port of HAProxy's metrics
    """
    configuration = (files / "prometheus.yml").read_text(encoding="utf-8")
    for text, ports in (("127.0.0.1:9400", exporters), ("127.0.0.1:9401", [haproxy])):
        targets = ", ".join(f'"127.0.0.1:{number}"' for number in ports)
        configuration = configuration.replace(f'"{text}"', targets)
    configuration = re.sub(r"_interval: \d+s", f"_interval: {SCRAPE_SECONDS}s", configuration)
    alerts = (files / "alerts.yml").read_text(encoding="utf-8")
    for pattern, text in SHORTER:
        alerts = pattern.sub(text, alerts)
    (folder / "prometheus.yml").write_text(configuration, encoding="utf-8")
    (folder / "alerts.yml").write_text(alerts, encoding="utf-8")
    command = [
        "prometheus",
        "--config.file",
        str(folder / "prometheus.yml"),
        "--storage.tsdb.path",
        str(folder / "data"),
    ]
    command += ["--web.listen-address", f"127.0.0.1:{port}", "--log.level", "warn"]
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    try:
        prometheus = Prometheus(port)
        if wait_until(prometheus.ready, READY_SECONDS) is None:
            raise RecsysError(f"Prometheus is not ready: {(folder / 'log').read_text(encoding='utf-8')[-500:]}")
        yield prometheus
    finally:
        process.terminate()
        process.wait(30)


def has_data(series: list[dict[str, Any]]) -> bool:
    """Whether a series has a value that is a number."""
    return any(one["value"][1] != "NaN" for one in series)


def panels(dashboard: Path) -> list[tuple[str, str]]:
    """The title and the expression of every query of a dashboard of Grafana."""
    content = json.loads(dashboard.read_text(encoding="utf-8"))
    return [
        (panel["title"], target["expr"].replace("$__rate_interval", WINDOW))
        for panel in content["panels"]
        for target in panel.get("targets", ())
    ]
