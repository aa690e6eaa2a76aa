"""The page that `recsys inspect` prints: tables, columns, what was read, problems, and settings for a training."""

from recsys import console
from recsys.data.inspect import UNREAD, ColumnSummary, Inspection, TableSummary
from recsys.data.layout.unclear import listed
from recsys.report.terminal import show_data, show_outlook
from recsys.timeline import day
from recsys.training.outlook import Outlook

PROBLEMS, TABLES, COLUMNS = 10, 20, 60
"""Largest numbers of problems, of tables, and of columns of a table that are listed."""


def show_inspection(inspection: Inspection, outlook: Outlook | None, mended: bool = False) -> None:
    """Print what was understood.

    outlook: None if the data cannot be read; mended: whether training would not stop under the proposed settings
    """
    for table in inspection.tables[:TABLES]:
        _show_table(table)
    if len(inspection.tables) > TABLES:
        console.line(f"and {len(inspection.tables) - TABLES:,} tables more, which are not read")
    if inspection.shop is not None:
        show_data(inspection.shop)
        gaps = [f"{gap.days:,} from {day(gap.start)} to {day(gap.end)}" for gap in inspection.gaps]
        console.paragraph(f"days without an event: {'; '.join(gaps) if gaps else 'no gap of two or more'}")
        console.line(f"{inspection.repeat_rate:.1%} of the events are on an item that the user had before")
        if inspection.busiest is not None:
            busiest = inspection.busiest
            console.paragraph(
                f"user {busiest.user!r} has {busiest.fraction:.1%} of the events; if this id stands for no user, leave "
                "its rows out by data.events.where"
            )
    else:
        tables = {f"{head.table.name} ({listed(head.names)})" for head in inspection.layout.roles.others}
        for text in inspection.layout.passed_over:
            if text not in tables:  # those are shown above
                console.paragraph(f"not read: {text}")
    if inspection.counts:
        columns = ["problem", "rows", "first in", "row", "value"]
        rows = [
            [count.reason, count.rows, inside(count.file, inspection.layout.name), count.row, count.value]
            for count in inspection.counts[:PROBLEMS]
        ]
        console.table(columns, rows, "rows that cannot be used")
    for sentence in inspection.without_items:
        console.paragraph(f"warning: {sentence}")
    if outlook is not None:
        show_outlook(outlook, inspection.stops, mended)
    elif inspection.stops:
        console.paragraph(f"training would stop: {inspection.stops}")
    for unclear in inspection.unclear:
        question = f"to decide: {unclear.problem}; set {unclear.setting}"
        console.paragraph(question if unclear.setting else f"to convert: {unclear.problem}")


def inside(address: str, source: str) -> str:
    """The address of a file relative to its source, and its name if it is the source."""
    path = address.removeprefix(source).lstrip("/")
    return path if address.startswith(source) and path else address.rpartition("/")[2]


def _blank(column: ColumnSummary) -> str | None:
    return None if column.kind == UNREAD else f"{column.blank:.0%}"


def _show_table(table: TableSummary) -> None:
    files = f"{table.files:,} file" + "s" * (table.files != 1)
    rows = [
        [column.name, column.purpose or None, column.kind, _blank(column), ", ".join(column.examples)]
        for column in table.columns[:COLUMNS]
    ]
    title = f"{table.name} ({files}): {table.role}"
    console.table(["column", "read as", "values", "blank", "examples"], rows, title)
    if len(table.columns) > COLUMNS:
        console.line(f"and {len(table.columns) - COLUMNS:,} columns more")
