"""The built image: what it holds, and whether its commands do what they should.

    python benchmarks/image.py [--image NAME] [--only content|train|serve|cluster]… [--seconds S] [--json FILE]

Trains on completejourney with small settings into a new volume, serves it, stops the service under load, and starts a
cluster of two nodes. Docker runs the containers, or root's Podman where no daemon runs. The containers write in their
named folders alone. The exit code is 1 where a check fails.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from image_parts import steps  # noqa: E402
from image_parts.content import content  # noqa: E402
from image_parts.engine import engine  # noqa: E402

from recsys import console  # noqa: E402
from recsys.errors import RecsysError  # noqa: E402

STEPS: Final = ("content", "train", "serve", "cluster")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--image", default="recsys:latest", help="its name")
    parser.add_argument("--only", action="append", choices=STEPS, help="a step; may be repeated; serve needs train")
    parser.add_argument("--seconds", type=float, default=10.0, help="of load before the service is stopped")
    parser.add_argument("--quick", action="store_true", help="three seconds of load")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    arguments = parser.parse_args()
    wanted = arguments.only or STEPS
    seconds = 3.0 if arguments.quick else arguments.seconds
    seen: list[steps.Seen] = []
    failed = False
    try:
        with tempfile.TemporaryDirectory() as folder, engine(Path(folder)) as runner:
            image = arguments.image
            runs: dict[str, Callable[[], Iterable[steps.Seen]]] = {
                "content": lambda: steps.content_rows(content(runner, image)),
                "train": lambda: steps.train(runner, image),
                "serve": lambda: steps.serve(runner, image, seconds),
                "cluster": lambda: steps.cluster(runner, image),
            }
            for step in wanted:
                for one in runs[step]():
                    console.progress(f"{one.setting}: {one.metric}: {one.value:g} {one.unit}")
                    seen.append(one)
    except RecsysError as error:
        console.progress(f"error: {error}")
        failed = True
    words = {None: "", True: "ok", False: "FAILED"}
    console.table(
        ["step", "", "value", "unit", ""],
        [[one.setting, one.metric, f"{one.value:.5g}", one.unit, words[one.passed]] for one in seen],
    )
    for one in seen:
        if one.passed is False:
            console.line(f"{one.setting}, {one.metric}: {one.note.strip() or one.value}")
    if arguments.json:
        rows = [
            {"system": "image", "setting": one.setting, "metric": one.metric, "value": one.value, "unit": one.unit}
            for one in seen
        ]
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return int(failed or any(one.passed is False for one in seen))


if __name__ == "__main__":
    sys.exit(main())
