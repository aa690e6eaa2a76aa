"""The documentation keeps up with the code: settings, commands, links, and the tutorial's shop."""

import ast
import importlib.util
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal

import click
import polars as pl
import pytest
import yaml
from pydantic import BaseModel, Field

from recsys.cli import commands
from recsys.config import TrainConfig, load_config, parse_config
from recsys.data.attributes import NO_ATTRIBUTES
from recsys.schema import DAY, EVENT_TYPES, Config
from recsys.serving.api.create import create_api
from recsys.serving.settings import ServeSettings
from recsys.training.plan import make_plan
from recsys.training.sweep.config import Range, SweepConfig

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
MODELS = [TrainConfig, ServeSettings, SweepConfig, Range]
BLOCK = re.compile(r"^```(?:console|sh)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def load(path: Path) -> ModuleType:
    """A module of the documentation's build, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


settings = load(DOCS / "_ext" / "settings.py")
features = load(DOCS / "_ext" / "features.py")
http_api = load(DOCS / "_ext" / "http_api.py")
docstrings = load(DOCS / "_ext" / "docstrings.py")
make_shop = load(DOCS / "tutorial" / "make_shop.py")


def names(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_and_every_section_has_a_meaning(model: type[BaseModel]) -> None:
    silent = [setting.key for setting in settings.all_settings(model).values() if not setting.meaning.strip()]
    silent += [section.key or model.__name__ for section in settings.sections(model) if not section.meaning.strip()]
    assert not silent


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_settings_that_a_page_names_exist(page: Path) -> None:
    keys = set(settings.all_settings(TrainConfig))
    sections = {section.key for section in settings.sections(TrainConfig)}
    heads = {key.partition(".")[0] for key in keys if "." in key}
    code = " ".join(CODE.findall(page.read_text(encoding="utf-8")))
    named = re.findall(rf"(?<![\w/.])(?:{'|'.join(sorted(heads))})\.[a-z_.0-9]*[a-z_0-9]", code)
    assert not [name for name in named if name not in keys | sections and not name.endswith((".txt", ".json", ".yaml"))]


def test_the_settings_of_the_page_on_data_are_valid() -> None:
    page = (DOCS / "how-to" / "your-data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) > 3
    for block in blocks:
        parse_config(TrainConfig, yaml.safe_load(block))


def settings_given(words: list[str]) -> Iterator[str]:
    """The keys after --set."""
    for option, value in itertools.pairwise(words):
        if option == "--set":
            yield value.partition("=")[0]


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words of each line of a page's code blocks that calls `recsys`, without comments."""
    for block in re.findall(
        r"^```(?:console|sh)?\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    ):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True) if "recsys " in line else []
            if "recsys" in words:
                yield words[words.index("recsys") + 1 :]


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_and_options_that_a_page_shows_exist(page: Path) -> None:
    for words in command_lines(page):
        command: click.Command = commands
        rest = list(words)
        while isinstance(command, click.Group) and rest:
            name = rest.pop(0)
            options = name.split("|")  # `models list|promote`
            assert set(options) <= set(command.commands), f"{page}: recsys {' '.join(words)}"
            command = command.commands[options[0]]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, f"{page}: recsys {' '.join(words)}"
        model = ServeSettings if command.name == "serve" else TrainConfig
        assert set(settings_given(rest)) <= set(settings.all_settings(model)), f"{page}: recsys {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_files_and_functions_of_the_package_that_a_page_names_exist(page: Path) -> None:
    code = " ".join(CODE.findall(page.read_text(encoding="utf-8")))
    for path, name in re.findall(r"(?<![\w./])((?:[a-z_]+/)+[a-z_]+\.py)(?::(\w+))?", code):
        file = next((file for file in (ROOT / "recsys" / path, ROOT / path) if file.exists()), None)
        assert file is not None, f"{path} does not exist"
        defined = {node.name for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, DEFINED)}
        assert not name or name in defined, f"{path} has no {name}"


def test_how_to_pages_begin_with_a_command() -> None:
    for page in sorted((DOCS / "how-to").glob("*.md")):
        _, title, _, fence, *_ = ["", *page.read_text(encoding="utf-8").splitlines()]
        assert title.startswith("# "), page
        assert fence.startswith("```"), page


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1800


def test_the_tutorials_shop_and_settings_give_a_plan(tmp_path: Path) -> None:
    make_shop.main(tmp_path)
    events = pl.read_csv(tmp_path / "events.csv")
    properties, tree = (pl.read_csv(tmp_path / name) for name in ("item_properties.csv", "category_tree.csv"))
    assert events.columns == ["timestamp", "visitorid", "event", "itemid", "transactionid"]
    assert set(events["event"]) == set(EVENT_TYPES)
    assert set(events["itemid"]) <= set(properties["itemid"])
    assert set(properties["value"]) <= set(tree["categoryid"])
    start, end = events["timestamp"].min(), events["timestamp"].max()
    assert isinstance(start, int)
    assert isinstance(end, int)
    assert 60 * DAY < end - start < 91 * DAY
    plan = make_plan(start, end, load_config(DOCS / "tutorial" / "shop.yaml"))
    assert len(plan.train) == 4
    assert plan.test.age == 7


def test_the_shop_is_the_same_every_time() -> None:
    assert make_shop.events() == make_shop.events()


class Inner(Config):
    """What is inside."""

    weight: float = Field(0.5, gt=0, le=1)
    """How much it counts,
    on two lines."""


class Toy(Config):
    """A toy."""

    names: tuple[Literal["a", "b"], ...] = ("a",)
    """Some names."""
    limit: int | None = Field(None, ge=1)
    """An upper bound."""
    path: str = Field(description="Where it lies.")
    inner: Inner = Inner()


def test_a_model_becomes_keys_types_defaults_and_meanings() -> None:
    found = settings.all_settings(Toy)
    assert list(found) == ["names", "limit", "path", "inner.weight"]
    assert [(s.type, s.default, s.meaning) for s in found.values()] == [
        ("list of `a` or `b`", "[a]", "Some names."),
        ("whole number, at least 1, or null", "null", "An upper bound."),
        ("text", None, "Where it lies."),
        ("number, above 0, at most 1", "0.5", "How much it counts,\non two lines."),
    ]


def test_the_page_of_settings_holds_every_setting() -> None:
    page = settings.page(TrainConfig, 2, "General")
    assert re.findall(r"^:::\{setting\} (\S+)$", page, re.MULTILINE) == list(settings.all_settings(TrainConfig))
    assert "## `ranker`" in page


def test_a_default_given_as_the_page_writes_it_changes_nothing() -> None:
    given = [f"{setting.key}={setting.default}" for setting in settings.all_settings(TrainConfig).values()]
    config = load_config(None, given)
    plain = config.inference.for_attributes(NO_ATTRIBUTES)  # without the sources that not every shop has
    assert config.model_copy(update={"inference": plain}) == TrainConfig()


def test_the_page_of_features_holds_every_feature() -> None:
    made = TrainConfig().inference.features
    page = features.page(made, 2)
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [feature.name for feature in made]


def test_the_page_of_http_holds_every_route_parameter_and_message() -> None:
    document = create_api(None, 1).openapi()  # type: ignore[arg-type]
    page = http_api.page(document, 2)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f"## `{method.upper()} {path}`" in page
            assert all(f"| `{parameter['name']}` |" in page for parameter in operation.get("parameters", ()))
    assert set(re.findall(r"\]\(#(http-\w+)\)", page)) == set(re.findall(r"^\((http-\w+)\)=", page, re.MULTILINE))


def test_a_docstring_becomes_a_list_and_its_markup_is_escaped() -> None:
    lines = [
        "Rows of a `table`.",
        "",
        "users: int64 (n,), positions;",
        "ascending",
        "n, k: *sizes* of x_",
        "Raises DataError.",
    ]
    assert docstrings.as_rst(lines) == [
        "Rows of a ``table``.",
        "",
        "- ``users``: int64 (n,), positions;",
        "  ascending",
        "- ``n``, ``k``: \\*sizes\\* of x\\_",
        "",
        "Raises DataError.",
    ]
