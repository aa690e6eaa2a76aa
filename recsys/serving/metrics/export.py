"""Passes the metrics of this process to Ray, whose exporter shows them to Prometheus."""

import threading
import time
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.metrics import Gauge

from recsys.serving.metrics.definitions import LE, METRICS, PARTS, Metric
from recsys.serving.metrics.recorder import Distribution, Labels, Recorder

EXPORT_SECONDS: Final = 1.0
"""Seconds between two exports. Ray passes values on every 10 s by default (RAY_metrics_report_interval_ms)."""
AT_ONCE: Final = 32
"""Series that are passed on before other threads get their turn, about 0.1 ms."""


def export_from_replica(recorder: Recorder) -> None:
    """Export the metrics of a replica of Serve from now on. Outside of one, as in a unit test, nothing happens."""
    try:
        serve.get_replica_context()
    except RayServeException:
        return
    Exporter(recorder).start()


class Exporter:
    """Sets one gauge of Ray's for each series, to the total since the start of the process.

    Ray's counters cannot begin at 0, so Prometheus would miss the first increase of each. Ray's histograms cost its
    agent 30 microseconds an observation, and the agent replaces each value by the middle of its bucket. A total in a
    gauge costs 3 microseconds a second, whatever the load. `rate` and `histogram_quantile` read such totals as usual.
    """

    def __init__(self, recorder: Recorder) -> None:
        """In a replica of Serve, its deployment and its name become labels."""
        self._recorder = recorder
        self._gauges = {
            f"{metric.name}{part}": _gauge(metric, part) for metric in METRICS for part in PARTS[metric.kind]
        }

    def start(self) -> None:
        """Export each second from now on, in a thread that ends with the process."""
        threading.Thread(target=self._run, name="metrics", daemon=True).start()

    def export(self) -> None:
        """Pass on all values. Ray forgets a value that is not set again within two of its reports."""
        self._recorder.sample()
        for number, (name, labels, value) in enumerate(series(self._recorder)):
            gauge, keys = self._gauges[name]
            gauge.set(value, dict(zip(keys, labels, strict=True)))
            if number % AT_ONCE == 0:
                time.sleep(0)  # requests go on meanwhile

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(EXPORT_SECONDS):
            self.export()


def series(recorder: Recorder) -> Iterator[tuple[str, Labels, float]]:
    """Name, labels and value of every series of a recorder; a bucket counts all observations up to its bound."""
    for values in (recorder.counts, recorder.gauges):
        for metric, by_labels in list(values.items()):
            [part] = PARTS[metric.kind]
            for labels, value in list(by_labels.items()):
                yield f"{metric.name}{part}", labels, value
    for metric, distributions in list(recorder.distributions.items()):
        for labels, counted in list(distributions.items()):
            yield from _histogram(metric, labels, counted)


def _histogram(metric: Metric, labels: Labels, counted: Distribution) -> Iterator[tuple[str, Labels, float]]:
    totals = list(accumulate(counted.buckets))
    for bound, total in zip((*(f"{bound:g}" for bound in metric.bounds), "+Inf"), totals, strict=True):
        yield f"{metric.name}_bucket", (*labels, bound), total
    yield f"{metric.name}_sum", labels, counted.sum
    yield f"{metric.name}_count", labels, totals[-1]


def _gauge(metric: Metric, part: str) -> tuple[Gauge, tuple[str, ...]]:
    """A gauge of Ray's and the names of the labels that it takes beside Serve's own."""
    keys = (*metric.labels, LE) if part == "_bucket" else metric.labels
    return Gauge(f"{metric.name}{part}", description=metric.meaning, tag_keys=keys), keys  # type: ignore[arg-type]  # it takes any number
