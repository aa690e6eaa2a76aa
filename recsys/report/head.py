"""The head of a report: when and on what it was trained, and the numbers that matter most."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from recsys.report.drawing import counted, percent
from recsys.report.inputs import PUBLISHED, RunInputs
from recsys.report.numbers import Estimate
from recsys.schema import Config


class Head(Config):
    """A training run in a few numbers.

    created: the run's clock; start, end: of the log; all ms
    targets: types of event that count as chosen
    ndcg, hit: NDCG@k and hit@k of the published system; confidence: level of the interval
    baseline: the best system that is no part of the published one; lead: NDCG@k over it
    candidates: of a user, on average; recall: of the chosen items, those that are candidates
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
    ndcg: Estimate
    baseline: str
    lead: float
    hit: float
    candidates: float
    recall: float


def collect_head(run: RunInputs) -> Head:
    shop, metrics, settings = run.data.shop, run.evaluation.metrics, run.config.evaluation
    baseline, ndcg = run.evaluation.best_baseline, f"ndcg@{settings.k}"
    ours = metrics.row(PUBLISHED).metrics
    return Head(
        created=run.created,
        start=shop.start,
        end=shop.end,
        targets=run.config.targets,
        events=sum(shop.event_counts.values()),
        users=shop.n_users,
        items=len(shop.items),
        k=settings.k,
        confidence=settings.confidence,
        ndcg=Estimate(mean=ours[ndcg], low=ours[f"{ndcg}_low"], high=ours[f"{ndcg}_high"]),
        baseline=baseline,
        lead=metrics.lead_over(baseline).mean,
        hit=ours[f"hit@{settings.k}"],
        candidates=metrics.candidates.per_user,
        recall=metrics.candidates.recall,
    )


@dataclass(frozen=True, slots=True)
class Tile:
    """A number at the top of the page."""

    value: str
    name: str
    note: str


def tiles(head: Head) -> Sequence[Tile]:
    ndcg, level = head.ndcg, f"{head.confidence * 100:.4g}%"
    return [
        Tile(f"{ndcg.mean:.3f}", f"NDCG@{head.k}", f"{level}: {ndcg.low:.3f} to {ndcg.high:.3f}"),
        Tile(f"{head.lead:+.3f}", "against the best baseline", head.baseline),
        Tile(percent(head.hit), "of the users with a hit", f"among the first {head.k} items"),
        Tile(percent(head.recall), "of the chosen items", f"are among {head.candidates:.0f} candidates"),
        Tile(counted(head.events), "events", f"{counted(head.users)} users, {counted(head.items)} items"),
    ]
