"""A training run's objects to its report."""

from recsys.report.contents import section_specs
from recsys.report.head import collect_head
from recsys.report.inputs import RunInputs
from recsys.report.model import Report


def collect_report(run: RunInputs) -> Report:
    """The report of a run, with the numbers of every section that applies to it."""
    collected = {spec.name: spec.collect(run) for spec in section_specs()}
    return Report(collect_head(run), {name: numbers for name, numbers in collected.items() if numbers is not None})
