"""A training run's objects to its report."""

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.report.contents import SECTIONS
from recsys.report.head import collect_head
from recsys.report.inputs import EvaluationNumbers, RunInputs, SourceContribution
from recsys.report.model import Report
from recsys.report.section import SectionSpec
from recsys.schema import Config


def collect_report(run: RunInputs, specs: Sequence[SectionSpec[Any]] = SECTIONS) -> Report:
    """The report of a run, with the numbers of every section that applies to it."""
    collected: dict[str, Config | None] = {spec.name: spec.collect(run) for spec in specs}
    numbers = {name: section for name, section in collected.items() if section is not None}
    return Report(collect_head(run), numbers, specs)


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
