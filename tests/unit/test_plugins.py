"""Registries of components, and modules that add to them."""

from pathlib import Path

import pytest

from recsys.errors import ConfigError
from recsys.plugins import VARIABLE, Registry, load_plugins


@pytest.fixture
def shapes() -> Registry[str]:
    registry: Registry[str] = Registry("shape")
    registry.add("round", "json:dumps")
    return registry


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a/b", "x\ny", "7", "_a", "é"])
def test_a_name_that_fits_no_setting_or_file_is_refused(shapes: Registry[str], name: str) -> None:
    with pytest.raises(ConfigError, match=r"shape '.*': a name has letters, digits and _"):
        shapes.add(name, "json:dumps")


def test_a_name_is_given_once(shapes: Registry[str]) -> None:
    with pytest.raises(ConfigError, match="already a shape named 'round'"):
        shapes.add("round", "json:loads")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("json:nope", "cannot be loaded from 'json:nope': AttributeError"),
        (":dumps", "ValueError: Empty module name"),
        ("no_such_package:x", "needs the Python package no_such_package"),
    ],
)
def test_a_component_that_cannot_be_loaded(shapes: Registry[str], place: str, reason: str) -> None:
    shapes.add("square", place)
    with pytest.raises(ConfigError, match=reason):
        shapes["square"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = nope", "NameError"),
        ("def", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import nope", "nope"),
    ],
)
def test_a_module_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    (tmp_path / "bad_plugin.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(VARIABLE, "bad_plugin")
    load_plugins.cache_clear()
    with pytest.raises(ConfigError, match=f"RECSYS_PLUGINS: module 'bad_plugin' cannot be imported: .*{reason}"):
        load_plugins()
    monkeypatch.delenv(VARIABLE)
    load_plugins()


def test_a_relative_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, ".")
    load_plugins.cache_clear()
    with pytest.raises(ConfigError, match=r"module '\.' cannot be imported: TypeError"):
        load_plugins()
    monkeypatch.delenv(VARIABLE)
    load_plugins()
