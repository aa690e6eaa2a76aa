"""The study of the five phases: read the data, train and compare the phases, print their tables."""

from pathlib import Path
from typing import Any, Literal

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ingest
from recsys.data.sources import Source
from recsys.errors import ConfigError
from recsys.report.terminal import show_data, show_from_log
from recsys.studies.phases.event_protocol import classify_phases
from recsys.studies.phases.printing import show_events, show_ranking
from recsys.studies.phases.ranking_protocol import rank_phases
from recsys.training.context import Context
from recsys.training.distributed.launch import check_cpus
from recsys.training.from_log import from_log
from recsys.training.sweep.config import SweepConfig

PhaseProtocol = Literal["ranking", "event"]


def check_sweep(sweep: SweepConfig | None) -> None:
    """Raise ConfigError for a sweep whose trials would differ in more than the model."""
    if sweep is not None and sweep.searches_data:
        raise ConfigError(
            "phases compare models over the same rows: a sweep may search ranker.* and hybrid.alpha, "
            f"found {', '.join(sweep.search)}"
        )


def study_phases(
    source: Source,
    config: TrainConfig,
    work: str | Path,
    now: int,
    sweep: SweepConfig | None,
    protocol: PhaseProtocol,
) -> dict[str, Any]:
    """Train the five phases and print their tables; returns all results as a JSON object. Nothing is published.

    work: folder or s3://bucket/prefix of the quarantine file and of sweeps; now: the run's clock, ms
    sweep: the search of the last phase, None to choose alpha alone
    Raises RecsysError; ConfigError as `check_sweep` does.
    """
    check_sweep(sweep)
    check_cpus(config.ranker)
    with console.step("read and check the data"):
        shop = ingest(source, config.data, now, f"{work}/quarantine.parquet")
    show_data(shop)
    chosen = from_log(shop, config)
    show_from_log(chosen)
    context = Context.create(shop, chosen.config, work)
    if protocol == "event":
        events = classify_phases(context, sweep)
        show_events(events, context.config)
        result = events.to_json()
    else:
        ranking = rank_phases(context, sweep)
        show_ranking(ranking, context.config)
        result = ranking.to_json()
    return result | {"fingerprint": shop.fingerprint, "config": context.config.model_dump(mode="json")}
