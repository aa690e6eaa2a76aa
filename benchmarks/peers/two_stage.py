"""RecTools' two-stage model: candidates of popularity, neighbours and ALS, ranked by LightGBM.

It needs older packages than this project, so it runs in an environment of its own, made from requirements.txt.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from peers.grids import Settings, grid
from peers.windows import ALL, NEW, Lists, Window
from recsys import console
from recsys.config import TrainConfig
from recsys.errors import RecsysError
from recsys.schema import UNKNOWN

HERE: Final = Path(__file__).resolve().parent
REQUIREMENTS: Final = HERE / "requirements.txt"
NAME: Final = "RecTools two-stage"
GRID: Final = grid(values=("linear", "decayed"), features=(0, 1), candidates=(100,), negatives=(3,))


class PeerError(RecsysError):
    """A peer cannot be installed, or fails."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Settings of the ranker by question, since it learns what it will be asked, and of its candidate sources.

    sources: settings of `als` and `cosine` by question
    """

    settings: Mapping[str, Settings]
    sources: Mapping[str, Mapping[str, Settings]]
    seed: int


def environment(work: Path) -> Path:
    """The interpreter of an environment with the pinned packages, made under `work` where it is not there yet.

    Raises PeerError, for example where there is no network.
    """
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = work / f"rectools-{digest}"
    python, stamp = folder / "bin" / "python", folder / ".installed"
    if not stamp.exists():
        with console.step(f"install {NAME}"):
            _call([sys.executable, "-m", "venv", "--clear", folder])
            _call([python, "-m", "pip", "install", "--quiet", "--requirement", REQUIREMENTS])
        stamp.touch()
    return python


def rank(fits: Sequence[Fit], window: Window, config: TrainConfig, python: Path, folder: Path) -> Sequence[Lists]:
    """Fit on the window's past and rank for its users, with files of codes in `folder`. Raises PeerError."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_tables(window, config, folder)
    jobs = {
        question: [_job(fit, question, number, window, config, folder) for number, fit in enumerate(fits)]
        for question in (ALL, NEW)
    }
    file = folder / "jobs.json"
    file.write_text(json.dumps([job for part in jobs.values() for job in part], indent=1), encoding="utf-8")
    _call([python, HERE / "rectools_fits.py", file])
    return [
        {question: _read(part[number]["lists"], window, question) for question, part in jobs.items()}
        for number in range(len(fits))
    ]


def _call(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerError(f"{' '.join(map(str, command))}: {' '.join(done.stderr.split())[-500:]}")


def _write_tables(window: Window, config: TrainConfig, folder: Path) -> None:
    past = window.past
    events = {
        "user_id": past.rows,
        "item_id": past.items.astype(np.int64),
        "datetime": pl.Series(past.times).cast(pl.Datetime("ms")),
        "target": np.isin(past.events, config.target_codes),
    }
    pl.DataFrame({**events, **window.event_weights()}).write_parquet(folder / "events.parquet")
    known = window.rows[window.cases.histories.lengths > 0]
    pl.DataFrame({"user_id": known}).write_parquet(folder / "users.parquet")


def _job(fit: Fit, question: str, number: int, window: Window, config: TrainConfig, folder: Path) -> dict[str, Any]:
    sources = {
        name: {key: value for key, value in settings.items() if key != "values"}
        for name, settings in fit.sources[question].items()
    }
    return {
        "events": str(folder / "events.parquet"),
        "users": str(folder / "users.parquet"),
        "lists": str(folder / f"lists-{question.replace(' ', '-')}-{number}.parquet"),
        "filter_seen": question == NEW,
        "days": config.horizon,
        "depth": window.depth,
        "seed": fit.seed,
        **fit.settings[question],
        **sources,
    }


def _read(file: str, window: Window, question: str) -> np.ndarray:
    """The lists of all test users, those filled up who have none; int32 (n_cases, depth)."""
    table = pl.read_parquet(file)
    case = np.full(len(window.past), UNKNOWN)
    case[window.rows] = np.arange(len(window.rows))
    ranked = np.full((len(window.rows), window.depth), UNKNOWN)
    ranked[case[table["user_id"].to_numpy()], table["rank"].to_numpy() - 1] = table["item_id"].to_numpy()
    return window.lists(ranked, question)
