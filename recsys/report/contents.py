"""The sections of a report, in their order. A new section is one module and one line here."""

from typing import Any, Final

from recsys.report.section import SectionSpec
from recsys.report.sections import (
    ablation,
    baselines,
    blend,
    calibration,
    candidates,
    classifier,
    days,
    discovery,
    examples,
    features,
    funnel,
    groups,
    input_quality,
    items,
    lists,
    sizes,
    spread,
    sweep,
)

SECTIONS: Final[tuple[SectionSpec[Any], ...]] = (
    days.SECTION,
    funnel.SECTION,
    spread.SECTION,
    items.SECTION,
    input_quality.SECTION,
    baselines.SECTION,
    groups.SECTION,
    discovery.SECTION,
    lists.SECTION,
    classifier.SECTION,
    calibration.SECTION,
    features.SECTION,
    ablation.SECTION,
    candidates.SECTION,
    blend.SECTION,
    sizes.SECTION,
    sweep.SECTION,
    examples.SECTION,
)
