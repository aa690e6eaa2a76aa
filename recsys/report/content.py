"""The numbers of a report: all that its page and its figures are made of. They are a version's report.json."""

from typing import Any, Final

from pydantic import Field, ValidationError

from recsys.errors import RegistryError
from recsys.schema import Config

REPORT: Final = "report.json"
PAGE: Final = "report.html"

Numbers = tuple[float, ...]
Row = dict[str, str | int | float | None]
"""A line of the metrics table, see `evaluation.table.Row`."""


class Line(Config):
    """Points of a curve, in their order."""

    x: Numbers
    y: Numbers


class Estimate(Config):
    """A mean over users, or a share, with its interval."""

    mean: float
    low: float
    high: float


class Window(Config):
    """Days that were held out, ms."""

    name: str
    start: int
    end: int


class Daily(Config):
    """Events per day, as means over runs of `step` days, the last of which ends with the log.

    starts: ms
    """

    step: int
    starts: tuple[int, ...]
    events: dict[str, Numbers]


class Funnel(Config):
    """Users, or pairs of a user and an item, by the types of their events.

    steps: the types that occur, in the order in which a purchase comes about
    have: how many have an event of the type; through: of these, those with an event of every earlier type
    """

    steps: tuple[str, ...]
    have: tuple[int, ...]
    through: tuple[int, ...]


class Spread(Config):
    """How events are spread over users or items, see `curves.Spread`."""

    total: int
    median: int
    top_tenth: float
    """Share of the events that the busiest tenth has."""
    survival: Line
    concentration: Line


class CategoryShare(Config):
    """A category's items and its share of the events of each type."""

    name: str
    items: int
    shares: dict[str, float]


class Coverage(Config):
    """How many items something is known of, and their share of the events."""

    name: str
    items: int
    events: float


class Data(Config):
    """What was learned from; start, end: ms"""

    start: int
    end: int
    users: int
    items: int
    events: dict[str, int]
    targets: tuple[str, ...]
    windows: tuple[Window, ...]
    daily: Daily
    funnel_users: Funnel
    funnel_pairs: Funnel
    activity: Spread
    popularity: Spread
    categories: tuple[CategoryShare, ...]
    n_categories: int
    coverage: tuple[Coverage, ...]
    quality: dict[str, int]
    """Rows by what became of them."""


class Group(Config):
    """Test users whose history has so many events, and the headline metric of some systems there."""

    low: int
    high: int
    users: int
    systems: dict[str, Estimate]


class Found(Config):
    """Shares of what users went on to choose: of items that were in their history, and of others; None without any."""

    system: str
    repeat: float | None
    new: float | None


class AtK(Config):
    """Mean precision and recall of a system's first k items, for k of 1, 2, …"""

    precision: Numbers
    recall: Numbers


class Classified(Config):
    """A system's scores as a classifier of the candidates, pooled over the users."""

    roc: Line
    roc_auc: float
    precision_recall: Line
    average_precision: float


class Confusion(Config):
    """Candidates by whether they score at least the threshold, and whether they were chosen.

    threshold, f1: the highest F1 on the validation window; missed: chosen items that were no candidates
    """

    threshold: float
    f1: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    missed: int


class Calibrated(Config):
    """A score beside the share of hits, by bins, see `curves.Reliability`."""

    predicted: Numbers
    observed: tuple[Estimate, ...]
    counts: tuple[int, ...]
    error: float


class Distribution(Config):
    """Hits and misses by score: shares of each in bins between `edges`."""

    edges: Numbers
    hits: Numbers
    misses: Numbers


class Quality(Config):
    """How good the evaluated model is on the test window.

    ours: the name of the system that is published; baseline: of the best one that is none of its parts
    """

    k: int
    confidence: float
    test_days: int
    seeds: int
    ours: str
    baseline: str
    users: int
    candidates: float
    """Of a user."""
    recall: float
    """Share of what users went on to choose that is among their candidates."""
    scored: float
    """Share of the candidates with a score of the factorization."""
    table: tuple[Row, ...]
    new_items: tuple[Row, ...]
    differences: tuple[Row, ...]
    activity: tuple[Group, ...]
    repeat_share: float
    """Share of what users went on to choose that was in their history."""
    found: tuple[Found, ...]
    at_k: dict[str, AtK]
    classified: dict[str, Classified]
    confusion: Confusion | None
    calibration: dict[str, Calibrated]
    distribution: Distribution | None


class Importance(Config):
    """A feature's share of the total gain of all splits."""

    name: str
    group: str
    meaning: str
    gain: float


class Contributions(Config):
    """What a feature adds to the ranker's raw scores of sampled candidates (SHAP; Lundberg et al. 2020).

    mean: of the absolute values; values: of some of the candidates; places: where these candidates' values of the
    feature stand among all sampled ones, from 0 to 100, None where they are missing or codes of categories
    """

    name: str
    meaning: str
    mean: float
    values: Numbers
    places: tuple[int | None, ...]


class Loss(Config):
    """What the headline metric loses without something; gain: its features' share of the gain, None for a source."""

    name: str
    features: int
    gain: float | None
    loss: Estimate


class Source(Config):
    """A candidate source's share of the candidates, and of what was chosen that it finds, and finds alone."""

    name: str
    share: float
    recall: float
    alone: float


class Point(Config):
    """alpha and the metric on the validation window"""

    alpha: float
    metric: float


class Size(Config):
    """A ranker's size and the metric on the validation window"""

    trees: int
    leaves: int
    metric: float


class Trial(Config):
    """A trial of a sweep; history: trees and metric of each report"""

    number: int
    status: str
    metric: float | None
    trees: int
    alpha: float | None
    settings: dict[str, Any]
    history: tuple[tuple[int, float], ...]


class Sweep(Config):
    """The search for settings; curve: the best trial's metric by alpha"""

    metric: str
    best: int
    importance: dict[str, float]
    curve: tuple[Point, ...]
    outcome: str = "its settings are taken"
    trials: tuple[Trial, ...]
    more: int = 0
    """Trials that are left out here, since there were too many."""


class Reasons(Config):
    """What the model goes by.

    validation: the headline metric of the users sampled for `groups` and `without`, before anything is taken away
    groups: loss where a group of features is shuffled; without: where the candidates of a source are left out
    """

    backend: str
    trees: int
    leaves: int
    alpha: float
    drift: float
    importance: tuple[Importance, ...]
    contributions: tuple[Contributions, ...]
    sampled_rows: int
    sampled_users: int
    validation: float
    groups: tuple[Loss, ...]
    without: tuple[Loss, ...]
    sources: tuple[Source, ...]
    curve: tuple[Point, ...]
    sizes: tuple[Size, ...] = ()
    """Rankers of other sizes that were tried, and the one of `trees` and `leaves`; none where the size was given."""
    sweep: Sweep | None


class Happened(Config):
    """An event of a history; time: ms"""

    time: int
    event: str
    item: str
    category: str | None


class Recommended(Config):
    """A recommended item; seen: whether it is in the history, hit: whether it was chosen afterwards."""

    item: str
    category: str | None
    score: float
    lgb: float
    mf: float | None
    sources: tuple[str, ...]
    seen: bool
    hit: bool


class Person(Config):
    """A test user: the newest events before the cut, and what would have been recommended.

    chosen: items of the target in the test window, of which `found` are among all recommendations
    """

    user: str
    warm: bool
    events: int
    newest: tuple[Happened, ...]
    recommended: tuple[Recommended, ...]
    chosen: int
    found: int


class Report(Config):
    """One training run; created: its clock, ms"""

    created: int = Field(ge=0)
    data: Data
    quality: Quality
    reasons: Reasons
    people: tuple[Person, ...]


def parse(text: str, place: str) -> Report:
    """The report in a version's report.json; place: where it lies, for the error.

    Raises RegistryError, one line, where it is none of this release.
    """
    try:
        return Report.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "top level"
        raise RegistryError(f"{place} is no report of this release: {where}: {first['msg']}") from error
