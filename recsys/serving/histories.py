"""What users did, as the service sees it: the version's snapshot. Live events will stand behind the same interface."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from recsys.histories import Histories
from recsys.registry.bundle import Bundle


class EventSource(Protocol):
    """Histories of users up to now."""

    def histories(self, opened: Bundle, rows: Sequence[int]) -> Histories:
        """Of the users at `rows` of the version's snapshot, empty where a row is UNKNOWN."""

    def newest(self, opened: Bundle) -> int:
        """ms; no history goes beyond it."""


class SnapshotEvents:
    """The events that the version was trained on."""

    def histories(self, opened: Bundle, rows: Sequence[int]) -> Histories:
        return opened.snapshot.take(np.asarray(rows))

    def newest(self, opened: Bundle) -> int:
        return opened.manifest.live_watermark
