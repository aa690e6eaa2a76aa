"""The tiny version of each format in tests/formats, and what is recommended from it.

A new format gets its folder from a version that a training of the small shop published:

    python -m tests.support.formats REGISTRY/versions/VERSION
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys.ids import Ids
from recsys.inference.batch import recommend_to
from recsys.inference.recommender import Recommender
from recsys.models.snapshot import Totals
from recsys.registry.artifact import FORMAT
from recsys.registry.bundle import Bundle, read, write
from recsys.schema import ITEM, OBJECTIVES, SCORE, USER

FORMATS: Final = Path(__file__).parent.parent / "formats"
EXPECTED: Final = "expected.json"
USERS, N = 25, 10


def answers(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Items and scores by objective and user; the last user has no event."""
    recommender = Recommender.from_bundle(bundle)
    users = pa.concat_arrays([bundle.snapshot.users.values, pa.array([-1])])
    lists: dict[str, dict[str, Any]] = {}
    for objective in OBJECTIVES:
        table = recommend_to(users, bundle, recommender, N, objective)
        by_user: dict[str, Any] = {}
        for user, item, score in zip(*(table[name].to_pylist() for name in (USER, ITEM, SCORE)), strict=True):
            own = by_user.setdefault(str(user), {"items": [], "scores": []})
            own["items"].append(item)
            own["scores"].append(round(score, 9))
        lists[objective] = by_user
    return lists


def shrink(bundle: Bundle) -> Bundle:
    """The version with a few users, and with the first trees of its ranker as a ranker for discovery."""
    snapshot, chosen = bundle.snapshot, np.arange(USERS)
    nothing = np.zeros(0, np.int64)
    totals = Totals(nothing, np.zeros((0, snapshot.totals.counts.shape[1]), np.int64), nothing, nothing, nothing)
    few = replace(
        snapshot, users=Ids(snapshot.users.values[:USERS]), histories=snapshot.histories.take(chosen), totals=totals
    )
    manifest = bundle.manifest
    counts = manifest.counts.model_copy(update={"users": USERS})
    manifest = manifest.model_copy(update={"discovery_blend": manifest.blend, "counts": counts})
    return replace(bundle, snapshot=few, manifest=manifest, discovery_ranker=bundle.ranker.first(5))


def main(version: Path) -> None:
    folder = FORMATS / str(FORMAT)
    write(shrink(read(version)), folder / "version", {})
    (folder / EXPECTED).write_text(json.dumps(answers(read(folder / "version"))) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
