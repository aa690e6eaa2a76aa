"""What the service counts about batches: time by stage, candidates by source, lists by visitor and length."""

import threading
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np

from recsys.arrays import ragged_indices
from recsys.inference.recommender import Recommendations
from recsys.inference.watch import Watch
from recsys.serving.metrics import definitions as named
from recsys.serving.metrics.definitions import Metric
from recsys.serving.metrics.recorder import Recorder

SUMMED_AT_ONCE: Final = 64
"""Batches whose sources are kept before they are summed."""


class StageMetrics(Watch):
    """Counts the batches of a replica of the ingress."""

    def __init__(self, recorder: Recorder, topology: str) -> None:
        self.recorder, self._topology = recorder, topology
        for visitor in ("warm", "cold", "session", "none"):
            for filled in ("full", "short", "empty"):
                recorder.expect(named.LISTS, visitor, filled)
        recorder.expect(named.FILTERED_ITEMS)
        self._unsummed: dict[tuple[Metric, tuple[str, ...]], list[np.ndarray]] = {}
        self._lock = threading.Lock()
        recorder.samplers.append(self.sum)

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

    def proposed(self, sources: tuple[str, ...], provenance: np.ndarray, filtered: int) -> None:
        """See Watch."""
        self._by_source(named.CANDIDATES, sources, provenance)
        if filtered:
            self.recorder.count(named.FILTERED_ITEMS, by=filtered)

    def listed(
        self, batch: Recommendations, sources: tuple[str, ...], lengths: Sequence[int], sessions: Container[int]
    ) -> None:
        """The lists of a batch; lengths: asked for; sessions: positions of the requests with a session."""
        borders, warm, provenance = batch.offsets.tolist(), batch.warm.tolist(), batch.provenance
        kept = [min(end - start, n) for start, end, n in zip(borders, borders[1:], lengths, strict=False)]
        if sum(kept) < len(provenance):  # another request of the batch wanted longer lists
            provenance = provenance[ragged_indices(batch.offsets[:-1], np.array(kept))]
        self._by_source(named.LISTED_ITEMS, sources, provenance)
        for row, (n, wanted) in enumerate(zip(kept, lengths, strict=True)):
            self.list("session" if row in sessions else "warm" if warm[row] else "cold", n, wanted)

    def list(self, visitor: str, n: int, wanted: int) -> None:
        """A list of `n` items; `wanted` were asked for."""
        self.recorder.count(named.LISTS, visitor, "full" if n >= wanted else "short" if n else "empty")

    def _by_source(self, metric: Metric, sources: tuple[str, ...], provenance: np.ndarray) -> None:
        """Keep a batch to be summed with others: a sum of one costs 15 microseconds."""
        with self._lock:
            kept = self._unsummed.setdefault((metric, sources), [])
            kept.append(provenance)
            if len(kept) >= SUMMED_AT_ONCE:
                self._sum()

    def sum(self, _: Recorder) -> None:
        """Count the sources of the batches since the last call."""
        with self._lock:
            self._sum()

    def _sum(self) -> None:
        for (metric, sources), kept in self._unsummed.items():
            for provenance in _by_width(kept):
                # A batch without sessions may lack the columns of the session sources, which come last.
                for source, n in zip(sources, np.count_nonzero(provenance, axis=0).tolist(), strict=False):
                    if n:
                        self.recorder.count(metric, source, by=n)
        self._unsummed.clear()


def _by_width(parts: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The parts with the same number of columns, joined."""
    for width in {part.shape[1] for part in parts}:
        yield np.concatenate([part for part in parts if part.shape[1] == width])


class _BatchWatch(Watch):
    """Passes what it is told on to StageMetrics."""

    def __init__(self, metrics: StageMetrics) -> None:
        self._metrics, self._since = metrics, time.perf_counter()

    def ended(self, stage: str) -> None:
        """See Watch."""
        now = time.perf_counter()
        self._metrics.took(stage, now - self._since)
        self._since = now

    def proposed(self, sources: tuple[str, ...], provenance: np.ndarray, filtered: int) -> None:
        """See Watch."""
        self._metrics.proposed(sources, provenance, filtered)
