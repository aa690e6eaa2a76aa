"""What a training run found out, collected for its report from what the run has at hand."""

import json
from collections.abc import Mapping
from typing import Any

import ray

from recsys.cluster import run_tasks
from recsys.config import TrainConfig
from recsys.data.ingest import ShopData
from recsys.evaluation.protocol import TestCases
from recsys.report.collect.data import find_data
from recsys.report.collect.people import find_people
from recsys.report.collect.quality import find_quality
from recsys.report.collect.reasons import find_reasons
from recsys.report.content import PAGE, REPORT, Report
from recsys.report.drawing import png
from recsys.report.page import pictures, render_page
from recsys.report.sweep import TABLE
from recsys.training.preparation import RankerInputs
from recsys.training.ranker import SelectedRanker
from recsys.training.scoring import ScoredCandidates
from recsys.training.validation import Validation


def report_files(report: Report, config: TrainConfig) -> dict[str, str | bytes]:
    """The report as files of a bundle: its numbers and, unless it is not wanted, its page."""
    numbers: dict[str, str | bytes] = {REPORT: report.model_dump_json()}
    if not config.evaluation.page:
        return numbers
    wanted = pictures(report)
    drawn = ray.get(run_tasks(png, "draw figures of the report", [(picture,) for picture in wanted]))
    images = {picture.name: image for picture, image in zip(wanted, drawn, strict=True)}
    return numbers | {PAGE: render_page(report, drawn=images)}


def find(
    shop: ShopData,
    inputs: RankerInputs,
    selected: SelectedRanker,
    cases: TestCases,
    scored: ScoredCandidates,
    metrics: Mapping[str, Any],
    files: Mapping[str, str | bytes],
    config: TrainConfig,
    now: int,
) -> Report:
    """The report of a run.

    cases, scored: of the test window; metrics: all that metrics.json will hold; files: of the bundle, among them those
    of a sweep where there was one; now: the run's clock, ms
    """
    plan = inputs.plan
    validation: Validation = ray.get(inputs.validation)
    return Report(
        created=now,
        data=find_data(shop, plan, config),
        quality=find_quality(shop, plan, cases, scored, selected, validation, metrics, config),
        reasons=find_reasons(validation, selected, metrics, json.loads(files.get(TABLE, "null")), config),
        people=find_people(shop, plan, cases, scored, selected.blend, config),
    )
