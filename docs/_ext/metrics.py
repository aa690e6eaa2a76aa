"""The table of the metrics, made from their definitions."""

from collections.abc import Sequence

from recsys.serving.metrics.definitions import Metric


def page(metrics: Sequence[Metric]) -> str:
    """Markdown of all metrics: the names in Prometheus, kind, unit, labels and meaning."""
    lines = ["| in Prometheus | kind | unit | labels | |", "|---|---|---|---|---|"]
    for metric in metrics:
        names = "<br>".join(f"`{name}`" for name in metric.series)
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| {names} | {metric.kind} | {metric.unit} | {labels} | {metric.meaning} |")
    return "\n".join(lines)


def buckets(metrics: Sequence[Metric]) -> str:
    """Markdown of the buckets of the histograms."""
    lines = ["| histogram | upper bounds of its buckets |", "|---|---|"]
    for metric in metrics:
        if metric.kind == "histogram":
            bounds = ", ".join(f"{bound:g}" for bound in metric.bounds)
            lines.append(f"| `{metric.name}` | {bounds} {metric.unit} |")
    return "\n".join(lines)
