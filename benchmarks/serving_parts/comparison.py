"""Requests with a parameter against the same requests without it, one load right after the other."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from recsys import console
from recsys.registry import bundle
from recsys.registry.locate import open_store

CONCURRENCIES: Final = (1, 32)
RULES: Final = 1000
SEED: Final = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """The cost of a parameter.

    lists: lengths of the lists that are requested
    most: the highest allowed value of `metric`, see `metrics_of`
    """

    parameter: str
    lists: tuple[int, ...]
    metric: str
    most: float

    def settings(self) -> list[tuple[int, int]]:
        """Length of the list and concurrency of each pair of loads."""
        return list(itertools.product(self.lists, CONCURRENCIES))

    def paths(self, mix: Sequence[str], n: int, *, on: bool) -> list[str]:
        return [path.replace("?n=5", f"?n={n}&{self.parameter}={'true' if on else 'false'}") for path in mix]


EXPLANATIONS: Final = Comparison("explain", (5, 50), "ratio", 2.0)
RULES_FILE: Final = Comparison("rules_file", (5,), "more", 1.0)


def metrics_of(without: Any, with_it: Any) -> tuple[tuple[str, float, str], ...]:
    """Metrics of a pair of loads, see `load.Load`: name, value and unit."""
    return (
        ("p50 without", without.p50, "ms"),
        ("p50", with_it.p50, "ms"),
        ("ratio", with_it.p50 / without.p50, "ratio"),
        ("more", with_it.p50 - without.p50, "ms"),
        ("rps without", without.throughput, "1/s"),
        ("rps", with_it.throughput, "1/s"),
        ("errors", without.errors + with_it.errors, "count"),
    )


def print_comparison(rows: list[dict[str, Any]], comparison: Comparison, title: str) -> None:
    found = {(line["system"], line["setting"], line["metric"]): line["value"] for line in rows}
    metrics = ["p50 without", "p50", "ratio", "more", "rps without", "rps", "errors"]
    lines = []
    for key in dict.fromkeys((system, setting) for system, setting, _ in found):
        figures = [found[*key, metric] for metric in metrics]
        lines.append(
            [*key, *(f"{value:.2f}" for value in figures), str(found[*key, comparison.metric] <= comparison.most)]
        )
    heads = ["system", "setting", "p50 without", "p50 ms", "ratio", "more ms", "req/s without", "req/s", "errors"]
    console.table([*heads, f"{comparison.metric} <= {comparison.most:g}"], lines, title)


def write_rules(registry: Path, file: Path) -> Path:
    """A file of RULES rules on categories and items of the version in production, of all kinds but filters `only`."""
    opened = bundle.read(open_store(str(registry)).path(), verify=False)
    rng = np.random.default_rng(SEED)
    rules: list[dict[str, Any]] = []
    for number in range(RULES):
        category = {"categories": [opened.categories[int(rng.integers(len(opened.categories)))]]}
        items = {"items": [opened.items[int(code)] for code in rng.integers(len(opened.items), size=3)]}
        kinds: tuple[dict[str, Any], ...] = (
            {"boost": 1.2, "where": category},
            {"bury": 1.2, "where": category},
            {"boost": 1.5, "where": items},
            {"filter": "without", "where": items},
            {"cap": 3, "where": category},
            {"pin": 1, "where": items, "fraction": 0.001},
            {"boost": 1.2, "where": category, "fraction": 0.5},
            {"bury": 2, "where": items, "from": "2015-01-01"},
        )
        rules.append({"name": f"rule {number}", **kinds[number % len(kinds)]})
    file.write_text(yaml.safe_dump({"rules": rules}), encoding="utf-8")
    return file
