"""The figures of a report, and how to look at one."""

import io

from PIL import Image

FIGURES = {
    *("events-per-day", "funnel", "activity", "concentration", "categories", "coverage", "systems", "differences"),
    *("warm-and-cold", "by-activity", "repeat-and-new", "new-items", "precision-at-k", "recall-at-k", "roc"),
    *("precision-recall", "confusion", "score-distribution", "calibration", "importance", "contributions"),
    *("without-features", "without-source", "sources", "alpha", "sizes"),
}

SWEEP_FIGURES = {"sweep-trials", "sweep-growth", "sweep-settings", "sweep-alpha"}


def check_figure(content: bytes, name: str) -> None:
    """Check that a figure is not blank: it has enough ink, of several colours."""
    counts = [count for count, _ in Image.open(io.BytesIO(content)).getcolors() or []]
    assert len(counts) > 12, name
    assert 0.005 < 1 - max(counts) / sum(counts) < 0.995, name
