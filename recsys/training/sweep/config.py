"""Sweep files, such as those in tune_configs/: their settings, checked against the settings of a run."""

import math
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator
from pydantic.fields import FieldInfo
from ray import tune

from recsys.config import TrainConfig, changed, load_config, parse_config, read_yaml
from recsys.errors import ConfigError
from recsys.evaluation import protocol
from recsys.schema import Config

SECTIONS: Final = ("ranker", "factorization", "examples")
"""Sections whose settings can be searched; of the section hybrid only alpha can be."""
ALPHA: Final = "hybrid.alpha"
FIXED: Final = ("examples.horizon_days", "ranker.backend", "ranker.threads", "ranker.num_workers")
"""Settings of these sections that a sweep cannot compare. Another horizon has another validation window, another
backend takes other settings, and the last two only decide where training runs.
"""
MAX_GRID: Final = 10_000
"""Points of a grid, at most."""


class Range(Config):
    """Numbers from low to high, both included; whole numbers if the setting is a whole number."""

    low: float
    """The smallest number."""
    high: float
    """The largest number, above low."""
    log: bool = False
    """Draw evenly on a logarithmic scale."""
    step: float | None = Field(None, gt=0)
    """Distance of two numbers, counted from low; a grid needs it."""

    @model_validator(mode="after")
    def _possible(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0, found low {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        return self

    def points(self) -> list[float]:
        """All numbers of a range with a step."""
        step = self.step or (self.high - self.low)
        return [self.low + step * i for i in range(self.n_points)]

    @property
    def n_points(self) -> int:
        """Number of points, without making them."""
        steps = (self.high - self.low) / (self.step or (self.high - self.low))
        return int(min(steps, 1e15) + 1e-9) + 1


Space = Annotated[
    Annotated[Range, Tag("range")] | Annotated[tuple[Any, ...], Field(min_length=1), Tag("values")],
    Discriminator(lambda written: "values" if isinstance(written, list | tuple) else "range"),
]
"""A list of values, or a range."""


class SweepConfig(Config):
    """One sweep."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Values by `section.key` that hold for every trial and for the published model."""
    search: dict[str, Space] = Field(min_length=1)
    """By `section.key`: a list of values, or a range."""
    metric: str = "ndcg@10"
    """The metric to maximize on the validation window: ndcg, recall, precision, hit or mrr, each @k."""
    trials: int = Field(8, ge=1)
    """Number of trials; a grid has one for each of its points."""
    concurrency: int | None = Field(None, ge=1)
    """Trials at a time; None for as many as the cluster has CPUs for, with ranker.threads for each."""
    searcher: Literal["optuna", "random", "grid"] = "optuna"
    """The method that proposes settings: Optuna's tree-structured Parzen estimator, random, or all combinations."""
    scheduler: Literal["asha", "none"] = "asha"
    """asha stops trials early whose metric is behind that of others with as many trees (Li et al. 2020)."""
    report_every: int = Field(10, ge=1)
    """Trees between two reports of a trial."""
    grace_trees: int = Field(20, ge=1)
    """Trees that every trial grows before asha may stop it."""
    minutes: float | None = Field(None, gt=0)
    """Time limit in minutes; a trial that still runs then counts with its last report."""
    beyond_chance: bool = True
    """Adopt the best trial only if it beats the start of the sweep significantly on the validation window (paired
    bootstrap, widened for the number of trials). The best of many trials leads by chance, and on other days it does
    not. The event protocol of the phases always adopts the best trial."""
    seed: int = Field(0, ge=0)
    """Seed of the searcher."""

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        try:
            protocol.cutoff_of(metric)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return metric

    @property
    def searches_data(self) -> bool:
        """Whether trials differ in what the ranker learns from."""
        return any(key.partition(".")[0] in ("factorization", "examples") for key in self.search)


def load_sweep(path: Path, config: Path | None, settings: list[str]) -> tuple[SweepConfig, TrainConfig]:
    """A sweep file, and the settings that its trials start from.

    The settings are the defaults, overlaid by the config file, then by the sweep's settings, then by --set. Raises
    ConfigError, one line that names the file, the key and what was expected.
    """
    try:
        sweep = parse_config(SweepConfig, read_yaml(path))
        base = load_config(config, settings, between=sweep.settings)
        for key, space in sweep.search.items():
            _check(key, space, base, sweep)
        if sweep.searcher == "grid" and (points := n_trials(sweep)) > MAX_GRID:
            raise ConfigError(f"the grid has {points} points, at most {MAX_GRID} are tried")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error
    return sweep, base


def _check(key: str, space: Any, base: TrainConfig, sweep: SweepConfig) -> None:
    section = key.partition(".")[0]
    options = _options()
    if key not in options:
        near = [option for option in options if option.startswith(f"{section}.")] or [f"{s}.*" for s in SECTIONS]
        raise ConfigError(f"search: {key} is no setting that can be searched; these can be: {', '.join(near)}, {ALPHA}")
    if isinstance(space, Range):
        if not {int, float} & _types(key):
            raise ConfigError(f"search: {key} is not a number; expected a list of values")
        numbers = [number for number in (space.low, space.high, space.step) if number is not None]
        if is_whole(key) and not all(number.is_integer() for number in numbers):
            raise ConfigError(f"search: {key} is a whole number, found {numbers}")
        if sweep.searcher == "grid" and space.step is None:
            raise ConfigError(f"search: {key}: a grid needs a step, or a list of values")
    for value in _ends(key, space):
        try:
            changed(base, {key: value})
        except ConfigError as error:
            raise ConfigError(f"search: {error}") from error


def _ends(key: str, space: Any) -> list[Any]:
    """The values of a list, or the ends of a range: if they are valid, the whole space is."""
    return [_cast(key, number) for number in (space.low, space.high)] if isinstance(space, Range) else list(space)


def _options() -> list[str]:
    """Every setting that can be searched."""
    keys = (f"{section}.{name}" for section in SECTIONS for name in _fields(section))
    return [*(key for key in keys if key not in FIXED), ALPHA]


def _fields(section: str) -> dict[str, FieldInfo]:
    model: Any = TrainConfig.model_fields[section].annotation
    return model.model_fields


def _types(key: str) -> set[Any]:
    section, name = key.split(".")
    annotation = _fields(section)[name].annotation
    return {annotation, *get_args(annotation)}


def is_whole(key: str) -> bool:
    """Whether a setting is a whole number."""
    return int in _types(key) and float not in _types(key)


def _cast(key: str, number: float) -> int | float:
    return int(number) if is_whole(key) else number


def domain(key: str, space: Range | tuple[Any, ...]) -> Any:
    """The search space of a setting as one of Ray Tune's domains."""
    if not isinstance(space, Range):
        return tune.choice(list(space))
    if is_whole(key):
        low, high = int(space.low), int(space.high)
        if space.step:
            return tune.qrandint(low, high, int(space.step))
        return tune.lograndint(low, high + 1) if space.log else tune.randint(low, high + 1)
    if space.step:
        return tune.quniform(space.low, space.high, space.step)
    return tune.loguniform(space.low, space.high) if space.log else tune.uniform(space.low, space.high)


def axes(sweep: SweepConfig) -> dict[str, list[Any]]:
    """The values of each setting of a grid."""
    return {
        key: [_cast(key, number) for number in space.points()] if isinstance(space, Range) else list(space)
        for key, space in sweep.search.items()
    }


def n_trials(sweep: SweepConfig) -> int:
    """Trials of a sweep: the points of a grid, or as many as configured."""
    if sweep.searcher != "grid":
        return sweep.trials
    return math.prod(space.n_points if isinstance(space, Range) else len(space) for space in sweep.search.values())


def start_point(sweep: SweepConfig, base: TrainConfig) -> dict[str, Any] | None:
    """The settings of `base` as a point of the search space, or None if one of them lies outside."""
    point = {key: setting(base, key) for key in sweep.search}
    return point if all(_within(value, sweep.search[key]) for key, value in point.items()) else None


def setting(config: TrainConfig, key: str) -> Any:
    """The value at `section.key`."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _within(value: Any, space: Range | tuple[Any, ...]) -> bool:
    if not isinstance(space, Range):
        return value in space
    return isinstance(value, int | float) and space.low <= value <= space.high
