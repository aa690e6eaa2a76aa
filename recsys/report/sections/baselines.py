"""Against baselines: the published system, its parts and the baselines on the same users."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from recsys.evaluation.metrics import Difference
from recsys.report.drawing import BLUE, GREY, INK, Picture, several
from recsys.report.inputs import PUBLISHED, EvaluationInputs
from recsys.report.numbers import Estimate, Lead, SystemRow
from recsys.report.section import QUALITY, Section, SectionSpec, Table
from recsys.report.systems import draw_systems, is_source, metrics_table, row_of
from recsys.schema import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHITE_BOX: Final[Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
"""A box behind a text that lies on a line."""


class Numbers(Config):
    """Metrics of all users.

    baseline: the best system that is no part of the published one
    users: in the test window; confidence: level of the intervals
    table: a row for each system; leads: over each other system
    """

    k: int
    confidence: float
    test_days: int
    users: int
    baseline: str
    table: tuple[SystemRow, ...]
    leads: tuple[Lead, ...]

    @property
    def level(self) -> str:
        return f"{self.confidence * 100:.4g}%"


def collect(evaluation: EvaluationInputs) -> Numbers:
    settings = evaluation.config.evaluation
    return Numbers(
        k=settings.k,
        confidence=settings.confidence,
        test_days=evaluation.config.test_days,
        users=len(evaluation.cases),
        baseline=evaluation.best_baseline,
        table=tuple(row for row in evaluation.table if row.group == "all"),
        leads=tuple(_lead(lead.system, lead.difference) for lead in evaluation.metrics.leads),
    )


def _lead(system: str, difference: Difference) -> Lead:
    return Lead(system=system, difference=Estimate(**difference._asdict()))


def section(numbers: Numbers) -> Section:
    k, level = numbers.k, numbers.level
    metric = f"ndcg@{k}"
    pictures = [
        Picture(
            "systems",
            f"NDCG@{k} of the {PUBLISHED}, its parts and the baselines, with {level} intervals.",
            f"All systems rank for the same users; whiskers are {level} intervals over users.",
            lambda figure: draw_systems(figure, numbers.table, metric, "All users"),
        ),
        Picture(
            "differences",
            f"NDCG@{k} of the {PUBLISHED} minus that of each other system, with {level} intervals.",
            "Differences are paired by user, so these intervals are narrower than the intervals of single systems. "
            "Grey intervals contain zero.",
            lambda figure: draw_differences(figure, numbers.leads, k),
        ),
    ]
    gaps = [(lead.system, *lead.difference.bounds) for lead in numbers.leads]
    tables = [
        metrics_table("Metrics of all users", k, numbers.table, ("all",)),
        Table(f"{PUBLISHED} minus the others, NDCG@{k}", ("system", "mean", "low", "high"), gaps),
    ]
    return Section(_text(numbers), pictures, tables)


def _text(numbers: Numbers) -> str:
    ndcg, _, _ = row_of(numbers.table, PUBLISHED).bounds(f"ndcg@{numbers.k}")
    mean, low, high = next(lead.difference for lead in numbers.leads if lead.system == numbers.baseline).bounds
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not clearly different from"
    return (
        f"In the test window of {several(numbers.test_days, 'day')}, the {PUBLISHED} reaches NDCG@{numbers.k} "
        f"{ndcg:.3f} over {numbers.users:,} users. It is {verdict} the best baseline, {numbers.baseline}: the "
        f"difference is {mean:+.4f} ({numbers.level} interval {low:+.4f} to {high:+.4f}, paired by user)."
    )


def draw_differences(figure: "Figure", leads: Sequence[Lead], k: int) -> None:
    axes = figure.subplots()
    rows = [lead for lead in leads if not is_source(lead.system)]
    for height, lead in enumerate(rows[::-1]):
        mean, low, high = lead.difference.bounds
        colour = BLUE if low > 0 or high < 0 else GREY
        axes.plot([low, high], [height, height], color=colour, linewidth=3, solid_capstyle="round")
        axes.plot(mean, height, "o", color=colour, markersize=8, markeredgecolor="white")
        axes.text(mean, height + 0.25, f"{mean:+.3f}", ha="center", fontsize=9, bbox=WHITE_BOX)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [lead.system for lead in rows[::-1]])
    axes.set_ylim(-0.6, len(rows) - 0.3)
    axes.margins(x=0.1)
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=f"NDCG@{k} of the {PUBLISHED} minus that of …")
    axes.set_title(f"{PUBLISHED.capitalize()} minus the others")


SECTION: Final = SectionSpec(
    "baselines", "Against baselines", QUALITY, Numbers, lambda run: collect(run.evaluation), section
)
