"""Files of events to usable events, with Ray: read, check, decide the types of ids, find stray events."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import ray

from recsys.cluster import read_blocks, run_split_tasks, run_tasks
from recsys.data.layout.describe import settled
from recsys.data.layout.ids import NO_INTEGER, integers, kind_of
from recsys.data.layout.midnight import ORDER, positions
from recsys.data.layout.model import EventTable, Layout
from recsys.data.layout.rules import EventRules
from recsys.data.layout.settings import EventsConfig, IdKinds
from recsys.data.layout.strays import STRAY, Days, count_times, is_dates, merge_times, usual_range
from recsys.data.layout.types import IGNORED
from recsys.data.layout.unclear import Unclear, refuse
from recsys.data.layout.votes import Votes, count_votes
from recsys.data.quarantine import Quarantine, too_many_words
from recsys.data.readers.base import FilePiece
from recsys.data.reading import read_piece, split_file, split_files
from recsys.data.validate import (
    COLUMN,
    EVENT_ROWS,
    FAULTS,
    NO_MEANING,
    PIECE,
    REASON,
    ROW,
    TEXT,
    WHERE,
    WORD,
    Faults,
    check_events,
)
from recsys.errors import DataError
from recsys.ids import IdKind, Ids
from recsys.schema import EVENT, ITEM, PURCHASE, TIME, TRANSACTION, USER

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Events:
    """The usable events, and the numbers of the rows read.

    blocks: columns TIME, USER, EVENT, ITEM, TRANSACTION, and ORDER for a log of dates; ids have their type but no codes
    left_out: rows that the conditions leave out
    words: rows of each event type, in the words of the files; without a column of types there are none
    text_ids: a text among the ids of "user" and "item", for ids that are not all integers
    is_dates: whether the log has dates without a time of day
    days: the days with events
    lacking: columns that some files lack, a text each
    """

    blocks: list["ray.ObjectRef[pa.Table]"]
    items: Ids
    user_kind: IdKind
    read: int
    usable: int
    quarantined: dict[str, int]
    blank_transactions: int
    left_out: int
    words: dict[str, int]
    text_ids: dict[str, str]
    is_dates: bool
    days: Days
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockSurvey:
    """Numbers of a block of checked rows, for the decisions that need all blocks.

    left_out, words: as in Events
    text_user, text_item: the smallest user id and item id that is no integer; None if all are integers
    days: days of the usable events
    """

    rows: int
    usable: int
    left_out: int
    words: dict[str, int]
    text_user: str | None
    text_item: str | None
    days: Days


@dataclass(frozen=True, slots=True)
class Typing:
    """The decisions that need all blocks.

    start, end: events before or after are strays (ms)
    """

    rules: EventRules
    user_kind: IdKind
    item_kind: IdKind
    is_dates: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class BlockReport:
    """The items, the usable and the rejected rows, and the purchases without a transaction id of a block.

    items: ids of the items with a usable event; faults: validate.FAULTS
    """

    items: pa.Array
    usable: int
    faults: pa.Table
    blank_transactions: int


def with_times(layout: Layout, config: EventsConfig) -> EventTable:
    """The table of events with the form of its times decided, by a scan of all values if the first rows do not tell.

    Raises DataError if it stays open.
    """
    table = layout.events
    if table is None:
        raise DataError(f"{layout.name}: no events")
    if not table.is_open:
        return table
    pieces = [piece for file in table.files for piece in split_file(file, _scanned(table.rules), table.dialect)]
    calls = [(piece, table.rules) for piece in pieces]
    votes: list[Votes] = ray.get(run_tasks(scan_times, "scan the dates", calls))
    decided = settled(table, sum(votes, Votes()), config)
    if isinstance(decided, Unclear):
        refuse([decided], layout.name)
        raise DataError(decided.problem)
    return decided


def scan_times(piece: FilePiece, rules: EventRules) -> Votes:
    """The forms of all times of a piece."""
    votes = Votes()
    for chunk in read_piece(piece, _scanned(rules)):
        texts = chunk.columns[rules.names.time].combine_chunks()
        votes += count_votes(texts.filter(pc.invert(rules.blanks(texts))))
    return votes


def _scanned(rules: EventRules) -> tuple[str, str]:
    """The columns of a scan. The times may be in the names of folders, and something must be read from the file."""
    return rules.names.time, rules.names.user


def read_events(table: EventTable, config: EventsConfig, now: int, quarantine: Quarantine) -> Events:
    """The usable events of a source. Decides the kinds of ids, and quarantines the unusable rows.

    Raises DataError if no row is usable, too many are not, or too many have an event type without a meaning.
    """
    rules = table.rules
    pieces, lacking = split_files(table.files, rules.columns, table.dialect, rules.optional)
    logger.debug("reading events: %d files, %d pieces", len(table.files), len(pieces))
    raw = read_blocks(pieces, parse_events, "read events", now=now, rules=rules)
    calls = [(block, rules, config.ids) for block in raw]
    surveys: list[BlockSurvey] = ray.get(run_tasks(survey_block, "survey events", calls))
    typing = _decide(surveys, rules, config)
    typed, summaries = run_split_tasks(type_ids, "type ids", [(block, typing) for block in raw], 2)
    reports: list[BlockReport] = ray.get(summaries)
    faults = pa.concat_tables([FAULTS.empty_table(), *(report.faults for report in reports)])
    read = sum(survey.rows for survey in surveys)
    _check_words(faults, read, quarantine, pieces)
    quarantined = quarantine.add_checked("event", read, faults, pieces)
    usable = sum(report.usable for report in reports)
    if not usable:
        files = ", ".join(file.address for file in table.files)
        raise DataError(f"{files}: no usable event among {read:,} rows")
    texts = {"user": [each.text_user for each in surveys], "item": [each.text_item for each in surveys]}
    return Events(
        blocks=typed,
        items=Ids.from_values(pa.chunked_array([report.items for report in reports])),
        user_kind=typing.user_kind,
        read=read,
        usable=usable,
        quarantined=quarantined,
        blank_transactions=sum(report.blank_transactions for report in reports),
        left_out=sum(survey.left_out for survey in surveys),
        words=_sums([survey.words for survey in surveys]),
        text_ids={name: min(filter(None, each)) for name, each in texts.items() if any(each)},
        is_dates=typing.is_dates,
        days=merge_times([survey.days for survey in surveys]),
        lacking=lacking,
    )


def parse_events(piece: FilePiece, number: int, now: int, rules: EventRules) -> Iterator[pa.Table]:
    """EVENT_ROWS of the piece with this number, chunk after chunk; the first table is empty."""
    yield EVENT_ROWS.empty_table()
    for chunk in read_piece(piece, rules.columns):
        yield check_events(chunk, number, now, rules)


def survey_block(block: pa.Table, rules: EventRules, pinned: IdKinds) -> BlockSurvey:
    """The survey of EVENT_ROWS; pinned: types of ids, of which `int64` makes rows with other ids unusable."""
    usable = block.filter(pc.is_null(block[COLUMN]))
    for name, kind in ((USER, pinned.user), (ITEM, pinned.item)):
        if kind == "int64":
            usable = usable.filter(pa.array(integers(usable[name].combine_chunks())[1]))
    counts = block.filter(pc.and_(pc.is_valid(block[COLUMN]), pc.is_null(block[REASON])))
    left_out = pc.sum(counts.filter(pc.equal(counts[COLUMN], WHERE))[ROW]).as_py() or 0
    by_word = counts.filter(pc.equal(counts[COLUMN], WORD))
    words = _sums([{word: n} for word, n in zip(by_word[TEXT].to_pylist(), by_word[ROW].to_pylist(), strict=True)])
    return BlockSurvey(
        rows=len(block) - len(counts) + left_out + ignored(rules, words),
        usable=len(usable),
        left_out=left_out,
        words=words,
        text_user=_text_id(usable[USER]),
        text_item=_text_id(usable[ITEM]),
        days=count_times(usable[TIME].to_numpy(), rules.times.zone),
    )


def ignored(rules: EventRules, words: Mapping[str, int]) -> int:
    """The number of rows whose event type is to be ignored; words: rows of each word."""
    return sum(n for word, n in words.items() if rules.words.code(word) == IGNORED)


def _text_id(ids: pa.ChunkedArray) -> str | None:
    """The smallest id that is no integer, None if all are integers."""
    texts = ids.combine_chunks()
    _, spelled = integers(texts)
    return None if spelled.all() else pc.min(texts.filter(pa.array(~spelled))).as_py()


def _decide(surveys: Sequence[BlockSurvey], rules: EventRules, config: EventsConfig) -> Typing:
    """The decisions that need all blocks."""
    days = merge_times([survey.days for survey in surveys])
    start, end = usual_range(days) if len(days.count) else (0, 0)
    return Typing(
        rules,
        kind_of(all(survey.text_user is None for survey in surveys), config.ids.user),
        kind_of(all(survey.text_item is None for survey in surveys), config.ids.item),
        is_dates(days, start, end),
        start,
        end,
    )


def type_ids(block: pa.Table, typing: Typing) -> tuple[pa.Table, BlockReport]:
    """The usable events of a block with ids of the decided types. Strays and other ids are rejected."""
    names = typing.rules.names
    rows = block.filter(pc.is_null(block[COLUMN]))
    faults = Faults(rows[ROW].to_numpy(), rows[PIECE].to_numpy())
    times = rows[TIME].to_numpy()
    stray = (times < typing.start) | (times > typing.end)
    if stray.any():
        dates = pc.strftime(rows[TIME].cast(pa.timestamp("ms")), "%Y-%m-%d %H:%M").combine_chunks()
        faults.reject(stray, names.time, STRAY, dates)
    columns = {name: rows[name] for name in (TIME, USER, EVENT, ITEM, TRANSACTION)}
    for key, name, kind in ((USER, names.user, typing.user_kind), (ITEM, names.item, typing.item_kind)):
        if kind == "int64":
            texts = rows[key].combine_chunks()
            columns[key], spelled = integers(texts)
            faults.reject(~spelled, name, NO_INTEGER, texts)
    if typing.is_dates:
        columns[ORDER] = pa.array(positions(rows[PIECE].to_numpy(), rows[ROW].to_numpy()))
    events = pa.table(columns).filter(pa.array(faults.usable))
    bought = events.filter(pc.equal(events[EVENT], PURCHASE))
    return events, BlockReport(
        items=events[ITEM].unique(),
        usable=len(events),
        faults=pa.concat_tables([block.filter(pc.is_valid(block[REASON])).select(FAULTS.names), faults.table()]),
        blank_transactions=int(pc.sum(pc.equal(bought[TRANSACTION], "")).as_py() or 0),
    )


def _check_words(faults: pa.Table, read: int, quarantine: Quarantine, pieces: Sequence[FilePiece]) -> None:
    """Raise DataError if too many rows have an event type without a meaning; they are quarantined then."""
    rows = faults.filter(pc.equal(faults[REASON], NO_MEANING))
    if len(rows) <= quarantine.max_bad_fraction * read:
        return
    quarantine.add(faults, pieces)
    raise DataError(too_many_words(Counter(rows[TEXT].to_pylist()), read))


def _sums(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total.most_common())
