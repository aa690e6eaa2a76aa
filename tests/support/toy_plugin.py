"""A module for RECSYS_PLUGINS."""

from recsys.models.rankers.registry import RANKERS
from recsys.retrieval.sources.registry import SOURCES
from tests.support.toys import MeansBackend, Rare

SOURCES.add(Rare.name, Rare())
RANKERS.add("means", MeansBackend())
