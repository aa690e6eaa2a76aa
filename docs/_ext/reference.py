"""Sphinx extension: pages of the reference are made from the code, and names of settings in prose become links.

A page says `<!-- made: settings -->` where the text made from the code goes; MADE has the names. A word in backticks
that begins with a section of the settings has to be one of them, else the build warns, and warnings are errors.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import docstrings
import features
import http_api
import metrics
import settings
import version_files
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from recsys.config import TrainConfig
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS
from recsys.registry.manifest import Manifest
from recsys.registry.shapes import expected_arrays
from recsys.retrieval.sources.registry import SOURCES
from recsys.serving.api.create import create_api
from recsys.serving.host.environment import FAST
from recsys.serving.metrics.definitions import METRICS
from recsys.serving.settings import ServeSettings
from recsys.sessions.features import FEATURES
from recsys.training.sweep.config import Range, SweepConfig

logger = logging.getLogger(__name__)
FILES: Final = (".txt", ".json", ".html", ".png", ".yaml")
MARK: Final = re.compile(r"<!-- made: ([a-z-]+) -->")


def _http() -> str:
    service: Any = None  # the routes are described without one
    return http_api.page(create_api(service, 1).openapi(), 2)


def _fast() -> str:
    return "\n".join(
        ["| variable | value |", "|---|---|", *(f"| `{name}` | `{value}` |" for name, value in FAST.items())]
    )


MADE: Final[dict[str, Callable[[], str]]] = {
    "settings": lambda: settings.page(TrainConfig, 2, "General"),
    "serve-settings": lambda: settings.page(ServeSettings, 2, kind="serve-setting"),
    "sweep": lambda: settings.page(SweepConfig, 2, kind="sweep-key"),
    "range": lambda: settings.page(Range, 2, kind="range-key"),
    "features": lambda: features.page(TrainConfig().inference.features, 2),
    "session-features": lambda: features.session_table(FEATURES),
    "manifest": lambda: version_files.manifest(Manifest),
    "arrays": lambda: version_files.arrays(
        expected_arrays(len(ITEM_COLUMNS), len(CATEGORY_COLUMNS), SOURCES.names, related=True, sessions=True)
    ),
    "http": _http,
    "fast": _fast,
    "metrics": lambda: metrics.page(METRICS),
    "buckets": lambda: metrics.buckets(METRICS),
}


def fill_in(_: Sphinx, __: str, source: list[str]) -> None:
    """Put what is made from the code into a page."""
    source[0] = MARK.sub(lambda mark: MADE[mark[1]](), source[0])


def link_settings(app: Sphinx, doctree: nodes.document) -> None:
    """Make links of the settings that stand in backticks."""
    keys, serving = settings.all_settings(TrainConfig), settings.all_settings(ServeSettings)
    heads = {key.partition(".")[0] for key in keys if "." in key}
    prefixes = {section.key for section in settings.sections(TrainConfig)}
    for literal in list(doctree.findall(nodes.literal)):
        text = literal.astext()
        key = text.partition("=")[0]
        if isinstance(literal.parent, nodes.reference | addnodes.pending_xref | nodes.title):
            continue
        if key in keys and "." in key:
            _link(app.env, literal, "setting", key)
        elif "_" in text and text in serving:
            _link(app.env, literal, "serve-setting", text)
        elif re.fullmatch(rf"({'|'.join(heads)})\.[a-z_.]+", key) and key not in prefixes and not key.endswith(FILES):
            logger.warning("there is no setting %s", key, location=literal)


def _link(env: BuildEnvironment, literal: nodes.literal, kind: str, key: str) -> None:
    link = addnodes.pending_xref(
        "", refdomain="std", reftype=kind, reftarget=key, refexplicit=True, refdoc=env.docname, refwarn=True
    )
    literal.replace_self(link)
    link += literal


def plain_docstrings(_: Sphinx, __: str, ___: str, ____: Any, _____: Any, lines: list[str]) -> None:
    """See `docstrings.as_rst`."""
    lines[:] = docstrings.as_rst(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    for kind in ("setting", "serve-setting", "sweep-key", "range-key"):
        app.add_object_type(kind, kind, indextemplate="")
    app.connect("source-read", fill_in)
    app.connect("doctree-read", link_settings)
    app.connect("autodoc-process-docstring", plain_docstrings)
    return {"parallel_read_safe": True}
