"""The head of a report: when and on what it was trained, and the numbers that matter most."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from recsys.report.drawing import counted, percent
from recsys.report.inputs import PUBLISHED, DataInputs, RunInputs
from recsys.report.numbers import Estimate
from recsys.schema import Config


class Head(Config):
    """A training run in a few numbers.

    created: the run's clock; start, end: of the log; all ms
    targets: types of event that count as chosen
    ndcg, hit: NDCG@k and hit@k of the published system; confidence: level of the interval
    baseline: the best system that is no part of the published one; lead: NDCG@k over it
    candidates: of a user, on average; recall: of the chosen items, those that are candidates
    not_learned: why nothing was learned; the metrics are None then, and None for a learned version
    warnings: sentences about what makes the version less certain
    """

    created: int = Field(ge=0)
    start: int
    end: int
    targets: tuple[str, ...]
    events: int
    users: int
    items: int
    k: int
    confidence: float
    ndcg: Estimate | None = None
    baseline: str | None = None
    lead: float | None = None
    hit: float | None = None
    candidates: float | None = None
    recall: float | None = None
    not_learned: str | None = None
    warnings: tuple[str, ...] = ()


def collect_data_head(created: int, data: DataInputs, not_learned: str | None) -> Head:
    """The head without metrics; created: the run's clock, ms."""
    shop, settings = data.shop, data.config.evaluation
    return Head(
        created=created,
        start=shop.start,
        end=shop.end,
        targets=data.config.target_types,
        events=sum(shop.event_counts.values()),
        users=shop.n_users,
        items=len(shop.items),
        k=settings.k,
        confidence=settings.confidence,
        not_learned=not_learned,
    )


def collect_head(run: RunInputs) -> Head:
    metrics, settings = run.evaluation.metrics, run.config.evaluation
    baseline, ndcg = run.evaluation.best_baseline, f"ndcg@{settings.k}"
    ours = metrics.row(PUBLISHED).metrics
    return collect_data_head(run.created, run.data, None).model_copy(
        update={
            "ndcg": Estimate(mean=ours[ndcg], low=ours[f"{ndcg}_low"], high=ours[f"{ndcg}_high"]),
            "baseline": baseline,
            "lead": metrics.lead_over(baseline).mean,
            "hit": ours[f"hit@{settings.k}"],
            "candidates": metrics.candidates.per_user,
            "recall": metrics.candidates.recall,
            "warnings": run.warnings,
        }
    )


@dataclass(frozen=True, slots=True)
class Tile:
    """A number at the top of the page."""

    value: str
    name: str
    note: str


def tiles(head: Head) -> Sequence[Tile]:
    return [
        *_measured(head),
        Tile(counted(head.events), "events", f"{counted(head.users)} users, {counted(head.items)} items"),
    ]


def _measured(head: Head) -> Sequence[Tile]:
    """The tiles of the metrics that the head has."""
    ndcg, level = head.ndcg, f"{head.confidence * 100:.4g}%"
    shown = []
    if ndcg is not None:
        shown.append(Tile(f"{ndcg.mean:.3f}", f"NDCG@{head.k}", f"{level}: {ndcg.low:.3f} to {ndcg.high:.3f}"))
    if head.lead is not None and head.baseline is not None:
        shown.append(Tile(f"{head.lead:+.3f}", "against the best baseline", head.baseline))
    if head.hit is not None:
        shown.append(Tile(percent(head.hit), "of the users with a hit", f"among the first {head.k} items"))
    if head.recall is not None and head.candidates is not None:
        shown.append(Tile(percent(head.recall), "of the chosen items", f"are among {head.candidates:.0f} candidates"))
    return shown
