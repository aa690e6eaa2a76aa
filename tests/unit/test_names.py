"""The words of the code: names that say too little, or another word for a thing that has one, do not come back."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.modules import MODULES

WORDS = """
of found there share shares judge choice Choice Fitted Prepared selecting Selector Selectors
Selection turns hats NewItems of_new final_new with_newcomers Question Answer Wishes Coalescer
linger linger_ms Engine Held look follow heal tried survived refused conclude findings reasons
people five comparison Swept taken About places aside
"""
HTTP_NAMES = {"recsys.serving.api.health": {"refused"}}
"""Names of the HTTP contract, which stay."""


def names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Each name that the module gives to something, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno


@pytest.mark.parametrize("name", MODULES)
def test_names_of_the_package(name: str) -> None:
    path: Path = MODULES[name]
    given = names(ast.parse(path.read_text(encoding="utf-8")))
    refused = set(WORDS.split()) - HTTP_NAMES.get(name, set())
    assert [f"{word} in line {line}" for word, line in given if word in refused] == []
