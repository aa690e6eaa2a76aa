"""What /health tells about a version."""

from dataclasses import replace

import pytest

from recsys.inference.recommender import Recommender
from recsys.inference.servable import Servable
from recsys.serving.api.health import health_message
from recsys.serving.health import HealthReport
from tests.support.bundles import small_bundle

REASON = "the log spans 3.0 days"


@pytest.mark.parametrize(
    ("not_learned", "mode"),
    [(None, "Hybrid (LGB + MF with fold-in), fused"), (REASON, "Sources by their weights, not learned, fused")],
)
def test_a_version_that_is_not_learned_is_named(not_learned: str | None, mode: str) -> None:
    bundle = small_bundle()
    bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"not_learned": not_learned}))
    served = Servable(bundle, Recommender.from_bundle(bundle))
    health = health_message(HealthReport(served, "fused", {"ingress": [["v1"]]}, [], None, None))
    assert (health["model"]["not_learned"], health["mode"]) == (not_learned, mode)
