"""Settings for a source that was inspected, as YAML; what a person has to decide stays in it as a comment."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import yaml

from recsys.data.ingest import DataConfig
from recsys.data.inspect import Inspection
from recsys.data.item_attributes import described
from recsys.data.layout.columns import customary, plain
from recsys.data.layout.settings import BLANKS, EventsConfig, ItemColumns, ItemsConfig
from recsys.data.layout.types import CODES
from recsys.data.layout.unclear import Unclear
from recsys.data.quarantine import Checked
from recsys.data.readers.base import NOT_TEXT
from recsys.data.validate import BLANK, NO_MEANING

QUANTITIES: Final = ("quantity", "qty", "units", "unitssold", "itemsold", "amount")
"""Names of columns with the number of pieces; a number below 1 is a return."""
CANCELLED: Final = ("cancelled", "canceled", "refunded", "returned", "voided", "failed", "expired", "declined")
"""Words of orders without a sale; see `columns.plain`."""
COLUMNS: Final = "data.events.columns."
EVENTS: Final = "data.events."
IDS: Final = ("user", "item")
"""Purposes of columns for which other columns are named."""
WORDS_SHOWN: Final = 40
"""Event types without a meaning that are listed."""
REASONS_SHOWN: Final = 3
"""Reasons of unusable rows of one kind that are listed."""
MOST_BAD: Final = 0.49
"""Largest fraction of unusable rows that a setting is proposed for; see `DataConfig`."""
ITEM_KINDS: Final = ("item property", "category tree")
"""Kinds of rows of the tables of items."""
LINE: Final = 1 << 20
"""Width of YAML that has no line breaks."""


def suggest(inspection: Inspection, config: DataConfig) -> str:
    """The section `data` of a file of settings, in YAML; config: the settings that the inspection used."""
    lines = ["data:", "  events:", *_indented(_events(inspection, config), 4)]
    items = _items(inspection, config.items)
    comments = [*_encoding(inspection, ITEM_KINDS), *_attributes(inspection, config.items)]
    if items:
        lines += ["  items:", *_indented(_dumped(items), 4)]
    elif comments:
        lines += ["  # items:"]
    lines += _indented(comments, 4)
    others = config.model_dump(mode="json", exclude={"events", "items"}, exclude_defaults=True)
    lines += _indented(_dumped(others), 2)
    lines += _indented(_open_faults(inspection, config), 2)
    return "\n".join(lines) + "\n"


def _events(inspection: Inspection, config: DataConfig) -> Iterator[str]:
    events = config.events
    files = events.model_dump(mode="json", include={"files", "delimiter", "encoding", "header"}, exclude_defaults=True)
    yield from _dumped(files)
    yield from _choices(inspection.unclear, f"{EVENTS}files", "files")
    yield from _choices(inspection.unclear, f"{EVENTS}delimiter", "delimiter")
    for point in inspection.unclear:
        if not point.setting:
            yield _comment(point.problem)
        if point.setting == f"{EVENTS}header":
            yield _comment(f"{point.problem}; name the columns, such as user, item, time:")
            yield _comment(f"header: [{', '.join(point.choices)}]")
    columns = list(_columns(inspection, events))
    yield "columns:" if any(not line.startswith("#") for line in columns) else "# columns:"
    yield from _indented(columns, 2)
    yield from _types(inspection, events)
    yield from _times(inspection, events)
    where = [*events.where, *missing_conditions(inspection, config)]
    for sentence in inspection.without_items:
        yield _comment(sentence)
    if where:
        yield from _dumped({"where": where})
    if inspection.busiest is not None and inspection.layout.events is not None:
        busiest = inspection.busiest
        condition = f"{inspection.layout.events.rules.names.user} != {busiest.user}"
        yield f"# user {busiest.user!r} has {busiest.fraction:.1%} of the events; if this id stands for no user:"
        yield f"# where: {_flow([*where, condition])}"
    yield from _encoding(inspection, ("event",))
    if events.blanks != BLANKS:
        yield from _dumped({"blanks": list(events.blanks)})
    yield from _dumped(_without_defaults({"ids": events.ids.model_dump(mode="json", exclude_none=True)}))


def _encoding(inspection: Inspection, kinds: Collection[str]) -> Iterator[str]:
    """A question about the encoding of the files of these kinds of rows, if there is one."""
    checked = (count for each in inspection.checked if each.kind in kinds for count in each.counts)
    if any(count.reason == NOT_TEXT for count in checked):
        yield f"# some rows are {NOT_TEXT}; if the file comes from Windows:"
        yield "# encoding: cp1252"


def _columns(inspection: Inspection, events: EventsConfig) -> Iterator[str]:
    """The columns that are known, and those that a person has to name."""
    given = {name: text for name, text in events.columns.model_dump().items() if text is not None}
    known = {**given, **inspection.layout.columns}
    yield from _dumped(known)
    yield from _other_columns(inspection, {name: known[name] for name in IDS if name in known and name not in given})
    for unclear in inspection.unclear:
        if unclear.setting.startswith(COLUMNS):
            yield from _question(unclear, unclear.setting.removeprefix(COLUMNS))


def _other_columns(inspection: Inspection, chosen: Mapping[str, str]) -> Iterator[str]:
    """Comments on columns with another customary name for a purpose; chosen: columns by purpose."""
    for summary in inspection.tables:
        columns = {column.name: column for column in summary.columns if summary.role == "events"}
        for purpose, name in chosen.items() if columns else ():
            others = [columns[other] for other in customary(tuple(columns), purpose) if other != name]
            if others:
                texts = (f"{column.name} ({column.blank:.0%} blank)" for column in others)
                yield _comment(f"{purpose}: {name} is {columns[name].blank:.0%} blank; others: {', '.join(texts)}")


def _types(inspection: Inspection, events: EventsConfig) -> Iterator[str]:
    mapping = None if inspection.shop is None else inspection.shop.mapping
    if mapping is not None and isinstance(mapping.types, str):
        yield from _dumped({"types": mapping.types})
        return
    given = events.types if isinstance(events.types, Mapping) else {}
    words = {**given, **(mapping.types if mapping is not None and isinstance(mapping.types, Mapping) else {})}
    unknown = list((inspection.unknown_words or {}).items())
    if not words and not unknown:
        if isinstance(events.types, str):
            yield from _dumped({"types": events.types})
        return
    yield "types:"
    yield from _indented(_dumped(words), 2)
    for word, n in unknown[:WORDS_SHOWN]:
        yield f"  # {_value(word)}: {' | '.join(CODES)}   ({n:,} rows; choose one)"
    if len(unknown) > WORDS_SHOWN:
        yield f"  # and {len(unknown) - WORDS_SHOWN:,} words more"


def _times(inspection: Inspection, events: EventsConfig) -> Iterator[str]:
    mapping = None if inspection.shop is None else inspection.shop.mapping
    settings = {"time_zone": events.time_zone, "time_unit": events.time_unit, "time_format": events.time_format}
    if mapping is not None:
        settings |= {"time_unit": mapping.time_unit, "time_format": mapping.time_format}
    yield from _dumped({name: value for name, value in settings.items() if value is not None})
    for unclear in inspection.unclear:
        if "time_format" in unclear.setting:
            yield _comment(f"{unclear.problem}; choose one:")
            for option in unclear.choices:
                yield f"# {'time_format' if '/' in option or '-' in option else 'time_unit'}: {_value(option)}"


def missing_conditions(inspection: Inspection, config: DataConfig) -> list[str]:
    """Conditions that leave out rows without a user, an item, a time or a type, if too many, and returned pieces."""
    table = inspection.layout.events
    if table is None:
        return []
    conditions = list(_blank_conditions(inspection, config).values())
    bought = table.rules.words.every is not None
    conditions += _live_orders(inspection) if bought else []
    for summary in inspection.tables:
        for column in summary.columns if summary.role == "events" and bought else ():
            is_quantity = plain(column.name).removeprefix("lineitem") in QUANTITIES
            if is_quantity and column.smallest is not None and column.smallest <= 0:
                conditions.append(f"{column.name} > 0")
    return [condition for condition in conditions if condition not in config.events.where]


def _blank_conditions(inspection: Inspection, config: DataConfig) -> dict[str, str]:
    """Conditions that leave out rows without a value, by their reason, as many as training needs."""
    names = () if inspection.layout.events is None else inspection.layout.events.rules.names.by_purpose.values()
    conditions = {f"{name} {BLANK}".strip(): f"{name} is not blank" for name in names}
    needed = {}
    for checked in inspection.checked:
        bad = checked.rejected if checked.kind == "event" else 0
        for count in checked.counts:
            if count.reason in conditions and bad > config.max_bad_fraction * checked.read:
                needed[count.reason] = conditions[count.reason]
                bad -= count.rows
    return needed


def _live_orders(inspection: Inspection) -> Iterator[str]:
    """Conditions that leave out orders without a sale, by a column such as `Order Status`."""
    head = inspection.layout.roles.events
    if head is None:
        return
    for name, texts in zip(head.head.rows.column_names, head.head.rows.columns, strict=True):
        if plain(name).endswith("status"):
            words = texts.unique().to_pylist()
            cancelled = (word for word in sorted(words) if plain(word).removeprefix("wc") in CANCELLED)  # wc-failed
            yield from (f"{name} != {word}" for word in cancelled)


def _items(inspection: Inspection, items: ItemsConfig) -> dict[str, Any]:
    """The settings of the tables of items."""
    settings = items.model_dump(mode="json", exclude_defaults=True)
    columns = dict(settings.get("columns", {}))
    tables = [summary for summary in inspection.tables if summary.role in ("items", "item properties")]
    if len(tables) == 1:  # the columns of two tables may differ
        purposes = {column.purpose: column.name for column in tables[0].columns}
        columns |= {name: purposes[name] for name in ItemColumns.model_fields if name in purposes}
    return _without_defaults({**settings, "columns": columns})


def _attributes(inspection: Inspection, items: ItemsConfig) -> Iterator[str]:
    """A comment on the attributes that were found."""
    if inspection.shop is not None and items.attributes is None and inspection.shop.catalog.attributes:
        texts = ", ".join(described(inspection.shop.catalog.attributes))
        yield f"# attributes of items that were found: {texts}"
        yield "# attributes: {} reads none; name some of them with their kinds to read no others"


def would_train(inspection: Inspection, config: DataConfig) -> bool:
    """Whether few enough rows are unusable under the settings that `suggest` proposes."""
    stops = (left.too_many(config.max_bad_fraction) for left in _still_bad(inspection, config))
    return not inspection.problem and not any(stops)


def _still_bad(inspection: Inspection, config: DataConfig) -> list[Checked]:
    """The rows that are unusable under the proposed conditions, by their kind."""
    solved = _blank_conditions(inspection, config)
    return [
        replace(each, counts=tuple(one for one in each.counts if each.kind != "event" or one.reason not in solved))
        for each in inspection.checked
    ]


def _open_faults(inspection: Inspection, config: DataConfig) -> Iterator[str]:
    """Comments on rows that cannot be used and are too many for training."""
    if inspection.problem:
        yield _comment(inspection.problem)
    fractions = []
    for left in _still_bad(inspection, config):
        counts = [count for count in left.counts if not count.reason.endswith(NO_MEANING)]  # a question below `types`
        bad = sum(count.rows for count in counts)
        if bad > config.max_bad_fraction * left.read:
            fractions.append(1.1 * bad / left.read + 0.001)
            rows = f"of {left.read:,} {left.kind} rows cannot be used"
            for count in counts[:REASONS_SHOWN]:
                text = f"{count.rows:,} {rows}: {count.reason}, first in row {count.row} of {count.file}"
                yield _comment(text)
    if fractions and max(fractions) < MOST_BAD:
        yield "# Mend these rows, or allow more of them:"
        yield f"# max_bad_fraction: {max(fractions):.3f}"
    elif fractions:
        yield "# Mend these rows; no setting allows so many."


def _choices(unclear: Sequence[Unclear], setting: str, key: str) -> Iterator[str]:
    for point in unclear:
        if point.setting == setting:
            yield from _question(point, key)


def _question(point: Unclear, key: str) -> Iterator[str]:
    yield _comment(f"{point.problem}; choose one:")
    for option in point.choices:
        yield f"# {key}: {_value(option)}"


def _dumped(settings: Mapping[str, Any]) -> list[str]:
    return _yaml(dict(settings)).splitlines() if settings else []


def _flow(texts: Sequence[str]) -> str:
    """A list of texts as YAML writes it in one line."""
    return _yaml(list(texts), width=LINE, default_flow_style=True).strip()


def _value(text: str) -> str:
    """A text as YAML writes it."""
    return _yaml(text, width=LINE).splitlines()[0]


class _Dumper(yaml.SafeDumper):
    """Writes each text on one line: one with line breaks has quotes and escapes."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        breaks = data.splitlines() not in ([], [data])
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if breaks else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _yaml(value: Any, **options: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **options))


def _comment(text: str) -> str:
    """A comment on one line, whatever the names in it."""
    return f"# {' '.join(text.split())}"


def _without_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value}


def _indented(lines: Iterator[str] | Sequence[str], spaces: int) -> list[str]:
    return [" " * spaces + line for line in lines]
