"""Sessions: the next item of a visit, by the session model and by others, on the validation window."""

from typing import Final

from recsys.report.inputs import RunInputs
from recsys.report.numbers import Estimate
from recsys.report.section import QUALITY, Section, SectionSpec, Table
from recsys.schema import Config


class SystemQuality(Config):
    """The first 20 items of a system for the sessions of a group; prefixes: beginnings of sessions."""

    system: str
    group: str
    prefixes: int
    hit_rate: float
    mrr: float
    ndcg: float


class Numbers(Config):
    """left_out: why the version has no session model, None if it has one; lead: over the main path in NDCG@20."""

    left_out: str | None
    lead: Estimate | None
    table: tuple[SystemQuality, ...]


def collect(run: RunInputs) -> Numbers | None:
    outcome = run.sessions
    if outcome is None:
        return None
    lead = outcome.lead
    return Numbers(
        left_out=outcome.left_out,
        lead=None if lead is None else Estimate(mean=lead.mean, low=lead.low, high=lead.high),
        table=tuple(SystemQuality.model_validate(row) for row in outcome.to_json()["table"]),
    )


def section(numbers: Numbers) -> Section:
    if numbers.left_out is None:
        text = "The version has a session model: it recommends the next item from the events of one visit."
    else:
        text = f"The version has no session model, so sessions are recommended to as histories are: {numbers.left_out}."
    if numbers.lead is not None:
        lead = numbers.lead
        text += (
            f" On the validation window, the session model's NDCG@20 of the next item minus the main path's is "
            f"{lead.mean:.4f} ({lead.low:.4f} to {lead.high:.4f})."
        )
    rows = [(row.system, row.group, row.prefixes, row.hit_rate, row.mrr, row.ndcg) for row in numbers.table]
    columns = ("system", "sessions", "beginnings", "HR@20", "MRR@20", "NDCG@20")
    return Section(text, tables=[Table("The next item of a session", columns, rows)] if rows else [])


SECTION: Final = SectionSpec("sessions", "Sessions", QUALITY, Numbers, collect, section)
