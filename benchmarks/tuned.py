"""The gain of a sweep on the test window, which it did not use: tuned against default settings, user by user.

    python benchmarks/tuned.py [--data SOURCE] [--tune FILE] [--json FILE]

- default: the default settings;
- tuned: the best trial of a sweep from the default settings, however small its lead (`beyond_chance: false`);
- bad start: trees, rate and alpha that are wrong on purpose;
- bad start, tuned: the best trial of the same sweep from the bad start, which also searches alpha.

Each is evaluated as in a training run: trees and alpha are selected on the validation window, and `evaluation.seeds`
rankers are trained up to the test window. The table shows the mean NDCG@10 over the users, and the paired difference to
the default with its bootstrap interval.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recsys import console  # noqa: E402
from recsys.arrays import ranked_lists  # noqa: E402
from recsys.cluster import start_ray  # noqa: E402
from recsys.config import TrainConfig, changed  # noqa: E402
from recsys.data.ingest import ingest  # noqa: E402
from recsys.data.sources import resolve  # noqa: E402
from recsys.evaluation import metrics  # noqa: E402
from recsys.training.context import Context  # noqa: E402
from recsys.training.evaluation import score_test_window  # noqa: E402
from recsys.training.preparation import RankerInputs, build_inputs  # noqa: E402
from recsys.training.ranker import select_ranker  # noqa: E402
from recsys.training.sweep.config import SweepConfig, load_sweep  # noqa: E402
from recsys.training.sweep.search import search  # noqa: E402

BAD: Final = {"ranker.num_leaves": 2, "ranker.learning_rate": 0.001, "hybrid.alpha": 1.0}
ALPHA: Final = {"hybrid.alpha": {"low": 0.0, "high": 1.0}}


def evaluated(context: Context, inputs: RankerInputs) -> tuple[float, np.ndarray]:
    """NDCG on the validation window, and each user's on the test window (mean over seeds), float64 (n_users,)."""
    selected = select_ranker(context, inputs)
    window = score_test_window(context, inputs, selected)
    cases, scored, k = window.cases, window.scored, context.config.evaluation.k
    by_seed = []
    for lgb in scored.lgb:
        scores, _, _ = selected.blend(lgb, scored.mf)
        lists = ranked_lists(scored.users, scored.items, scores, len(cases), k)
        by_seed.append(metrics.ndcg(metrics.hits(lists, cases.truth), cases.truth.sizes, k))
    return selected.metric, np.mean(by_seed, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="completejourney")
    parser.add_argument("--tune", type=Path, default=ROOT / "tune_configs" / "quick.yaml")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(options.data, *load_sweep(options.tune, None, []), Path(folder))
    columns = ["settings", "validation", "test", "minus default", "low", "high", "/ default"]
    console.table(columns, [list(row.values()) for row in rows])
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def compare(data: str, sweep: SweepConfig, default: TrainConfig, work: Path) -> list[dict[str, Any]]:
    start_ray()
    with console.step("read the data"):
        shop = ingest(resolve(data, work), default.data, int(time.time() * 1000), work / "quarantine.parquet")
    with console.step("make the ranker's rows"):
        start = Context.create(shop, default, work)
        inputs = build_inputs(start)
    bad = start.with_config(changed(default, BAD))
    sweep = sweep.model_copy(update={"beyond_chance": False})
    wider = sweep.model_copy(update={"search": SweepConfig.model_validate({"search": sweep.search | ALPHA}).search})
    from_default = search(start, inputs, sweep, resume=False)
    from_bad = search(bad, inputs, wider, resume=False)
    rows: list[dict[str, Any]] = []
    reference = np.zeros(0)
    for name, context, rows_of in (
        ("default", start, inputs),
        ("tuned", from_default.context, from_default.inputs),
        ("bad start", bad, inputs),
        ("bad start, tuned", from_bad.context, from_bad.inputs),
    ):
        with console.step(f"evaluate {name}"):
            validation, values = evaluated(context, rows_of)
        reference = reference if len(reference) else values
        settings = context.config.evaluation
        gap = metrics.paired_difference(values, reference, settings.resampling)
        ratio = float(values.mean() / reference.mean())
        rows.append({"settings": name, "validation": validation, "test": float(values.mean())} | gap._asdict())
        rows[-1]["ratio"] = ratio
    return rows


if __name__ == "__main__":
    main()
