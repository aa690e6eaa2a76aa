"""The registry of all candidate sources."""

from typing import Any, Final

from recsys.plugins import Registry
from recsys.retrieval.sources.base import Source
from recsys.retrieval.sources.category import Category
from recsys.retrieval.sources.covisitation import Covisitation
from recsys.retrieval.sources.fresh import Fresh
from recsys.retrieval.sources.mf_neighbours import MFNeighbours
from recsys.retrieval.sources.own import Own
from recsys.retrieval.sources.popular import Popular
from recsys.retrieval.sources.recent import Recent

SOURCES: Final[Registry[Source[Any]]] = Registry("candidate source")
"""The candidate sources by name, in the order of their columns in source scores."""

for _source in (Own(), Covisitation(), MFNeighbours(), Recent(), Popular(), Category(), Fresh()):
    SOURCES.add(_source.name, _source)
