"""A training run's objects to its report."""

from collections.abc import Mapping
from typing import Any

from recsys.report.contents import section_specs
from recsys.report.head import collect_head
from recsys.report.inputs import EvaluationNumbers, RunInputs, SourceContribution
from recsys.report.model import Report


def collect_report(run: RunInputs) -> Report:
    """The report of a run, with the numbers of every section that applies to it."""
    collected = {spec.name: spec.collect(run) for spec in section_specs()}
    return Report(collect_head(run), {name: numbers for name, numbers in collected.items() if numbers is not None})


def evaluation_numbers(metrics: Mapping[str, Any]) -> EvaluationNumbers:
    """The metrics of the test window from the dict that `evaluate` returns."""
    candidates = metrics["candidates"]
    return EvaluationNumbers(
        table=tuple(metrics["table"]),
        new_items=tuple(metrics["new_items"]),
        differences=tuple(metrics["differences"]),
        half_lives=metrics["half_lives"],
        recall=candidates["recall"],
        candidates_per_user=candidates["per_user"],
        sources=tuple(
            SourceContribution(row["source"], row["share"], row["recall"], row["recall_alone"])
            for row in candidates["sources"]
        ),
    )
