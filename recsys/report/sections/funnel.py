"""From view to purchase: users, and pairs of a user and an item, by the types of their events."""

from typing import TYPE_CHECKING, Final

import numpy as np
import ray

from recsys.arrays import run_starts
from recsys.cluster import run_tasks
from recsys.data.shop import UserPartition
from recsys.report.drawing import BLUE, SKY, TYPE_NAMES, Picture, counted, label_rows, legend_below, percent, plain_axes
from recsys.report.inputs import DataInputs
from recsys.report.section import DATA, Section, SectionSpec, Table
from recsys.schema import EVENT_TYPES, Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_SETS: Final = 1 << len(EVENT_TYPES)
"""Sets of event types: bit c of a set stands for the type with code c."""
LETTER: Final = 0.016
"""Width of a letter as a fraction of the width of an axis."""


class Funnel(Config):
    """Users, or pairs of a user and an item, by the types of their events.

    steps: the types that occur, in the order that leads to a purchase
    have: number with an event of the type; through: number of these that also have an event of every earlier type
    """

    steps: tuple[str, ...]
    have: tuple[int, ...]
    through: tuple[int, ...]


class Numbers(Config):
    """The funnel of users, and the one of pairs of a user and an item."""

    users: Funnel
    pairs: Funnel


def collect(data: DataInputs) -> Numbers:
    calls = [(partition,) for partition in data.shop.partitions]
    counts: list[tuple[np.ndarray, np.ndarray]] = ray.get(run_tasks(count_sets, "count steps to a purchase", calls))
    users, pairs = (np.sum(parts, axis=0) for parts in zip(*counts, strict=True))
    return Numbers(users=funnel(users), pairs=funnel(pairs))


def count_sets(partition: UserPartition) -> tuple[np.ndarray, np.ndarray]:
    """Users, and pairs of a user and an item, by the set of types of their events; int64 (N_SETS,) each."""
    histories = partition.histories
    width = int(histories.items.max(initial=0)) + 1
    pairs, pair_of = np.unique(histories.rows * width + histories.items, return_inverse=True)
    by_pair = _sets(pair_of, histories.events, len(pairs))
    starts = run_starts(pairs // width)
    by_user = np.bitwise_or.reduceat(by_pair, starts) if len(starts) else by_pair
    return np.bincount(by_user, minlength=N_SETS), np.bincount(by_pair, minlength=N_SETS)


def _sets(owners: np.ndarray, events: np.ndarray, n: int) -> np.ndarray:
    """The set of types of the events of each owner, int64 (n,)."""
    sets = np.zeros(n, np.int64)
    for code in range(len(EVENT_TYPES)):
        sets |= (np.bincount(owners[events == code], minlength=n) > 0).astype(np.int64) << code
    return sets


def funnel(by_set: np.ndarray) -> Funnel:
    """The funnel of counts by set of types; by_set: int64 (N_SETS,)."""
    sets = np.arange(N_SETS)
    codes = [code for code in range(len(EVENT_TYPES)) if by_set[sets >> code & 1 > 0].any()]
    have = [int(by_set[sets >> code & 1 > 0].sum()) for code in codes]
    through, earlier = [], 0
    for code in codes:
        earlier |= 1 << code
        through.append(int(by_set[sets & earlier == earlier].sum()))
    return Funnel(steps=tuple(EVENT_TYPES[code] for code in codes), have=tuple(have), through=tuple(through))


def section(numbers: Numbers) -> Section:
    users, pairs = numbers.users, numbers.pairs
    if len(pairs.steps) < 2:
        return Section(f"The log has {TYPE_NAMES[pairs.steps[0]]} only, so there are no steps to compare.")
    first, last = TYPE_NAMES[pairs.steps[0]], TYPE_NAMES[pairs.steps[-1]]
    text = (
        f"{_through(users)} of the users with {first} took every step up to {last}. The same is true for "
        f"{_through(pairs)} of the pairs of a user and an item with {first}. {_incomplete(pairs)}"
    )
    picture = Picture(
        "funnel",
        f"Users, and pairs of a user and an item, with {', '.join(TYPE_NAMES[step] for step in pairs.steps)}: the "
        "number with such an event, and the number that also has one of every earlier step.",
        "Each bar shows a step. The dark part of a bar took all earlier steps as well.",
        lambda figure: draw(figure, users, pairs),
        1.7 + 0.95 * len(pairs.steps),
    )
    rows = [
        (name, TYPE_NAMES[step], have, through)
        for name, part in (("users", users), ("pairs", pairs))
        for step, have, through in zip(part.steps, part.have, part.through, strict=True)
    ]
    return Section(text.strip(), [picture], [Table("Funnel", ("of", "with", "number", "with all earlier steps"), rows)])


def _through(part: Funnel) -> str:
    return percent(part.through[-1] / max(part.have[0], 1))


def _incomplete(pairs: Funnel) -> str:
    fraction = 1 - pairs.through[-1] / max(pairs.have[-1], 1)
    return f"{percent(fraction)} of the pairs at the last step lack an earlier step." if fraction > 0.001 else ""


def draw(figure: "Figure", users: Funnel, pairs: Funnel) -> None:
    panels = figure.subplots(2, 1)
    for axes, part, title in zip(panels, (users, pairs), ("Users", "Pairs of a user and an item"), strict=True):
        names = [f"with {TYPE_NAMES[step]}" for step in part.steps]
        heights = label_rows(axes, names)
        axes.barh(heights, part.have, color=SKY, height=0.62, label="with this event")
        axes.barh(heights, part.through, color=BLUE, height=0.62, label="with all earlier steps as well")
        texts = [
            counted(have) if have == through else f"{counted(have)}, {counted(through)} with all earlier steps"
            for have, through in zip(part.have, part.through, strict=True)
        ]
        for height, have, text in zip(heights, part.have, texts, strict=True):
            axes.text(have + 0.01 * max(part.have), height, text, va="center", fontsize=9)
        axes.set_title(title)
        axes.set_xlim(0, max(have / (0.98 - LETTER * len(text)) for have, text in zip(part.have, texts, strict=True)))
        plain_axes(axes, x=counted)
    if (users.have, pairs.have) != (users.through, pairs.through):
        legend_below(panels[0], 2)


SECTION: Final = SectionSpec(
    "funnel", "From view to purchase", DATA, Numbers, lambda run: collect(run.data), section, collect
)
