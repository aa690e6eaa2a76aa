"""Quality of the input: rows that were read, kept, dropped and quarantined."""

from dataclasses import asdict
from typing import Final

from recsys.report.drawing import several
from recsys.report.inputs import DataInputs
from recsys.report.section import DATA, Section, SectionSpec, Table
from recsys.schema import Config


class Numbers(Config):
    """Rows of the input.

    quarantined: number of unusable rows; repeated: number of event rows that equal an earlier row
    unknown_item: number of item property rows of items without an event
    rows: number of rows by outcome
    """

    quarantined: int
    repeated: int
    unknown_item: int = 0
    rows: dict[str, int]


def collect(data: DataInputs) -> Numbers:
    quality, properties = data.shop.quality, data.shop.quality.properties
    quarantined = {
        f"{kind} rows set aside: {reason}": rows
        for kind, by_reason in (
            ("event", quality.events_quarantined),
            ("item property", properties.quarantined),
            ("category tree", properties.tree_quarantined),
        )
        for reason, rows in by_reason.items()
    }
    mended = {name.replace("_", " "): rows for name, rows in asdict(properties.tree).items() if rows}
    rows = {
        "event rows read": quality.events_read,
        "event rows kept": quality.events_kept,
        **({"event rows left out by data.events.where": quality.events_left_out} if quality.events_left_out else {}),
        "repeated event rows dropped": quality.duplicates,
        "purchases without a transaction id, kept": quality.blank_transactions,
        "item property rows read": properties.read,
        "item property rows kept": properties.kept,
        "item property rows of other properties": properties.not_asked,
        "item property rows of items without events": properties.unknown_item,
        **quarantined,
        **{f"category tree, mended: {name}": rows for name, rows in mended.items()},
    }
    return Numbers(
        quarantined=sum(quarantined.values()),
        repeated=quality.duplicates,
        unknown_item=properties.unknown_item,
        rows=rows,
    )


def section(numbers: Numbers) -> Section:
    unusable = "Every row could be used."
    if numbers.quarantined:
        unusable = f"{several(numbers.quarantined, 'row')} could not be used and were written to the quarantine file."
    repeated = "No event row was repeated."
    if numbers.repeated:
        repeated = f"{several(numbers.repeated, 'event row')} repeated an earlier row and did not count."
    unknown = ""
    if numbers.unknown_item:
        rows = several(numbers.unknown_item, "item property row")
        unknown = f" {rows} belonged to items without an event and did not count."
    table = Table("Rows by outcome", ("rows", "number"), list(numbers.rows.items()))
    return Section(f"{unusable} {repeated}{unknown}", tables=[table])


SECTION: Final = SectionSpec(
    "input_quality", "Quality of the input", DATA, Numbers, lambda run: collect(run.data), section, collect
)
