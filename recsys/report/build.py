"""A training run's objects to its report."""

from recsys.report.contents import section_specs
from recsys.report.head import collect_data_head, collect_head
from recsys.report.inputs import DataInputs, RunInputs
from recsys.report.model import Report


def collect_report(run: RunInputs) -> Report:
    """The report of a run, with the numbers of every section that applies to it."""
    collected = {spec.name: spec.collect(run) for spec in section_specs()}
    return Report(collect_head(run), {name: numbers for name, numbers in collected.items() if numbers is not None})


def collect_data_report(created: int, data: DataInputs, not_learned: str) -> Report:
    """The report of a run that learned nothing: the sections about its data.

    created: the run's clock, ms; not_learned: why nothing was learned
    """
    sections = {spec.name: spec.from_data(data) for spec in section_specs() if spec.from_data is not None}
    return Report(collect_data_head(created, data, not_learned), sections)
