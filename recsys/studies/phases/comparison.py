"""One comparison of the five phases: read the data, train and judge them, and say what was found."""

from pathlib import Path
from typing import Any, Literal

from recsys import console
from recsys.config import TrainConfig
from recsys.data.ingest import ingest
from recsys.data.sources import Source
from recsys.errors import ConfigError
from recsys.report.terminal import show_data
from recsys.studies.phases.events import classify_phases
from recsys.studies.phases.printing import show_events, show_ranking
from recsys.studies.phases.ranking import rank_phases
from recsys.training.distributed.launch import check_cpus
from recsys.training.sweep.config import SweepConfig

PhaseProtocol = Literal["ranking", "event"]


def compare(
    source: Source,
    config: TrainConfig,
    work: str | Path,
    now: int,
    sweep: SweepConfig | None,
    protocol: PhaseProtocol,
) -> dict[str, Any]:
    """Train the five phases and print their tables; everything found, as JSON. Nothing is published.

    work: folder or s3://bucket/prefix of the quarantine file and of sweeps; now: the run's clock, ms
    sweep: what the last phase searches, None for alpha alone
    Raises RecsysError; ConfigError for a sweep whose trials would differ in more than the model.
    """
    if sweep is not None and sweep.searches_data:
        raise ConfigError(
            "phases compare models over the same rows: a sweep may search ranker.* and hybrid.alpha, "
            f"found {', '.join(sweep.search)}"
        )
    check_cpus(config.ranker)
    with console.step("read and check the data"):
        shop = ingest(source, config.data, now, f"{work}/quarantine.parquet")
    show_data(shop)
    if protocol == "event":
        found = classify_phases(shop, config, sweep)
        show_events(found, config)
    else:
        found = rank_phases(shop, config, work, sweep)
        show_ranking(found, config)
    return found | {"fingerprint": shop.fingerprint, "config": config.model_dump(mode="json")}
