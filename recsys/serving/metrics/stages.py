"""What the service counts about batches: time by stage, candidates by source, lists by visitor and length."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from recsys.arrays import ragged_indices
from recsys.inference.recommender import Recommendations
from recsys.inference.watch import Watch
from recsys.serving.metrics import definitions as named
from recsys.serving.metrics.definitions import Metric
from recsys.serving.metrics.recorder import Recorder


class StageMetrics(Watch):
    """Counts the batches of a replica of the ingress."""

    def __init__(self, recorder: Recorder, topology: str) -> None:
        self.recorder, self._topology = recorder, topology
        for visitor in ("warm", "cold", "session", "none"):
            for filled in ("full", "short", "empty"):
                recorder.expect(named.LISTS, visitor, filled)
        recorder.expect(named.FILTERED_ITEMS)

    def watch(self) -> Watch:
        """A watch over one batch whose stages follow each other; the first begins now."""
        return _BatchWatch(self)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measures what runs inside as one batch of a stage, unless it fails."""
        started = time.perf_counter()
        yield
        self.took(stage, time.perf_counter() - started)

    def took(self, stage: str, seconds: float) -> None:
        """A batch, or a request in the queue, took so long in a stage."""
        self.recorder.observe(named.STAGE_SECONDS, seconds, stage, self._topology)

    def batch(self, waited: Sequence[float]) -> None:
        """A batch leaves; waited: seconds of each of its requests."""
        self.recorder.observe(named.BATCH_REQUESTS, len(waited))
        for seconds in waited:
            self.took("queue", seconds)

    def proposed(self, sources: Sequence[str], provenance: np.ndarray, filtered: int) -> None:
        """See Watch."""
        self._by_source(named.CANDIDATES, sources, provenance)
        if filtered:
            self.recorder.count(named.FILTERED_ITEMS, by=filtered)

    def listed(self, batch: Recommendations, sources: Sequence[str], lengths: np.ndarray, sessions: set[int]) -> None:
        """The lists of a batch; lengths: int64 (n,), asked for; sessions: positions of the requests with a session."""
        kept = np.minimum(np.diff(batch.offsets), lengths)
        provenance = batch.provenance
        if kept.sum() < len(provenance):
            provenance = provenance[ragged_indices(batch.offsets[:-1], kept)]
        self._by_source(named.LISTED_ITEMS, sources, provenance)
        for row, (warm, n, wanted) in enumerate(zip(batch.warm.tolist(), kept.tolist(), lengths.tolist(), strict=True)):
            self.list("session" if row in sessions else "warm" if warm else "cold", n, wanted)

    def list(self, visitor: str, n: int, wanted: int) -> None:
        """A list of `n` items; `wanted` were asked for."""
        self.recorder.count(named.LISTS, visitor, "full" if n >= wanted else "short" if n else "empty")

    def _by_source(self, metric: Metric, sources: Sequence[str], provenance: np.ndarray) -> None:
        # A batch without sessions may lack the columns of the session sources, which come last.
        for source, n in zip(sources, np.count_nonzero(provenance, axis=0).tolist(), strict=False):
            if n:
                self.recorder.count(metric, source, by=n)


class _BatchWatch(Watch):
    """Passes what it is told on to StageMetrics."""

    def __init__(self, metrics: StageMetrics) -> None:
        self._metrics, self._since = metrics, time.perf_counter()

    def ended(self, stage: str) -> None:
        """See Watch."""
        now = time.perf_counter()
        self._metrics.took(stage, now - self._since)
        self._since = now

    def proposed(self, sources: Sequence[str], provenance: np.ndarray, filtered: int) -> None:
        """See Watch."""
        self._metrics.proposed(sources, provenance, filtered)
