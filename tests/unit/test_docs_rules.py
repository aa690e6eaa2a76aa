"""The recipes of the page on rules, read from the page and run."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from recsys.registry.folder import FolderStore
from recsys.rules.file import RulesFile
from recsys.rules.parse import parse_request, parse_rules
from recsys.schema import DAY
from tests.support.bundles import publish
from tests.support.services import http, service_of
from tests.support.shop_data import END
from tests.unit.test_rules_lists import N, numbers, shop

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "rules.md").read_text(encoding="utf-8")
RECIPE = re.compile(r"^### (\d+)\. (.+?)\n(.*?)(?=^##)", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```(yaml|text)\n(.*?)^```", re.DOTALL | re.MULTILINE)
JUNE = 1_780_272_000_000
"""2026-06-01, ms."""


@dataclass(frozen=True)
class Recipe:
    """What a recipe of the page says: a rules file, filters of a request, and the path of a request."""

    file: RulesFile | None
    filters: dict[str, Any] | None
    path: str | None

    @classmethod
    def of_text(cls, text: str) -> "Recipe":
        file = filters = path = None
        for kind, block in BLOCK.findall(text):
            if kind == "text":
                path = block.split()[1]
            elif block.startswith("# filters"):
                parse_request(block.encode(), "filters")
                filters = yaml.safe_load(block)
            else:
                file = parse_rules(block)
        return cls(file, filters, path)


RECIPES = {int(number): Recipe.of_text(text) for number, _, text in RECIPE.findall(PAGE)}
PLAIN = numbers({}, N)


def by_file(number: int, n: int = N, **options: Any) -> list[int]:
    return numbers(None, n, file=RECIPES[number].file, **options)


async def by_path(number: int, folder: Path) -> list[int]:
    """The numbers of the items that the service answers with."""
    store = FolderStore(folder)
    publish(store, shop().bundle, "v1")
    path = RECIPES[number].path
    assert path is not None
    async with http(service_of(store)) as client:
        response: httpx.Response = await client.get(path)
    assert response.status_code == 200, response.text
    return [(item["itemid"] - 500) // 3 for item in response.json()["recommendations"]]


def test_there_are_ten_recipes() -> None:
    assert list(RECIPES) == list(range(1, 11))


def heroes() -> set[bool]:
    return {by_file(6, users=[user])[0] == 17 for user in range(12)}


CHECKS: dict[int, Callable[[], bool]] = {
    1: lambda: not {k for k in by_file(1) if k % 4 < 2} - {3},
    4: lambda: by_file(4, now=JUNE)[0] % 3 == 1 and by_file(4, now=JUNE - 1) == by_file(4, now=JUNE + 7 * DAY),
    5: lambda: min(by_file(5).index(k) - PLAIN.index(k) for k in {0, 4} & set(PLAIN)) > 0,
    6: lambda: heroes() == {True, False},
    7: lambda: (
        max(by_file(7, 8).count(k) + sum(other % 4 == k % 4 for other in by_file(7, 8)) for k in (4, 5, 6, 7)) <= 3
    ),
    8: lambda: sum(k >= 15 for k in by_file(8)) == 1,
    9: lambda: by_file(9, 8) != PLAIN[:8],
}


@pytest.mark.parametrize("number", CHECKS)
def test_a_recipe_with_a_file_does_what_it_says(number: int) -> None:
    assert CHECKS[number]()


async def test_a_recipe_with_a_request_does_what_it_says(tmp_path: Path) -> None:
    sold_out = await by_path(2, tmp_path / "2")
    assert len(sold_out) == 5
    assert not {0, 1} & set(sold_out)
    newsletter = await by_path(3, tmp_path / "3")
    assert newsletter == numbers(RECIPES[3].filters, 5)
    assert newsletter
    assert all(5 < k <= 20 for k in newsletter)
    page = await by_path(10, tmp_path / "10")
    assert len(page) == 3
    assert len({k % 3 for k in page}) == 3
    assert all(k % 4 < 2 for k in page)


def test_the_checks_cover_every_recipe() -> None:
    assert {*CHECKS, 2, 3, 10} == set(RECIPES)
    assert END < JUNE
