"""What a training of a whole shop measures about sessions: with and without the users' histories."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recsys import cli
from recsys.registry.folder import FolderStore


def validation_table(source: str) -> Iterator[dict[str, Any]]:
    """The rows of `sessions.table` in the metrics of a training on this source; see `SessionQuality`."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Path(folder) / "registry"
        settings = ("evaluation.page=false", "sessions.publish=always", "sessions.compared_prefixes=4000")
        options = [option for setting in settings for option in ("--set", setting)]
        if cli.main(["train", "--data", source, "--registry", str(registry), *options]):
            raise SystemExit(f"the training on {source} failed; its error is on stderr")
        metrics = json.loads((FolderStore(registry).path() / "metrics.json").read_text(encoding="utf-8"))
    sessions = metrics.get("sessions")
    if not sessions or not sessions["table"]:
        raise SystemExit(f"no session model was trained on {source}: {sessions and sessions['left_out']}")
    yield from sessions["table"]
