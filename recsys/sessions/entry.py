"""The entry of a manifest that declares the session model of a version."""

from pydantic import field_validator

from recsys.features.statistics import Statistics
from recsys.models.blend import Calibration
from recsys.models.rankers.registry import Ranker
from recsys.schema import Config
from recsys.sessions.model import SessionModel
from recsys.sessions.settings import SOURCES, SessionConfig
from recsys.sessions.tables import ItemFacts, SessionTables
from recsys.specs import Arrays


class SessionEntry(Config):
    """The session model of a version."""

    features: tuple[str, ...]
    """Its ranker's features, in the order of the columns."""
    sources: tuple[str, ...]
    """Its candidate sources, in the order of their columns."""
    backend: str
    """The library of its ranker."""
    calibration: Calibration
    """The map of its raw scores onto [0, 1]."""
    settings: SessionConfig
    """Its settings, with the decays that were chosen."""

    @field_validator("sources")
    @classmethod
    def _known(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        if sources != SOURCES:
            raise ValueError(f"expected {', '.join(SOURCES)}")
        return sources

    @classmethod
    def create(cls, model: SessionModel) -> "SessionEntry":
        """The entry of a model."""
        return cls(
            features=model.feature_names,
            sources=model.source_names,
            backend=model.config.ranker.backend,
            calibration=model.calibration,
            settings=model.config,
        )

    def model(self, arrays: Arrays, ranker: Ranker, statistics: Statistics) -> SessionModel:
        """The model that this entry declares. Raises ModelError if this code lacks a feature.

        arrays: of the version
        """
        tables, facts = SessionTables.from_arrays(arrays), ItemFacts.create(statistics)
        return SessionModel(tables, facts, self.settings, ranker, self.calibration)
