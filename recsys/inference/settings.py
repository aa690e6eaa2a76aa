"""Settings of the stages. Training fixes them, and every stage must use the same values."""

from pydantic import Field, ValidationError

from recsys.data.attributes import Attributes, AttributeSpec
from recsys.errors import RegistryError
from recsys.features.definitions import Feature, feature_names_of, feature_table
from recsys.features.interactions import InteractionConfig
from recsys.models.snapshot import HistoryConfig
from recsys.registry.bundle import Bundle
from recsys.retrieval.generator import CandidateConfig
from recsys.retrieval.sources.registry import SOURCES
from recsys.schema import Config


class InferenceConfig(Config):
    """Settings of the stages; the manifest of a version contains them."""

    history: HistoryConfig = HistoryConfig()
    interactions: InteractionConfig = InteractionConfig()
    candidates: CandidateConfig = Field(default_factory=CandidateConfig)
    attributes: tuple[AttributeSpec, ...] = ()
    """The attributes of items that have features. A training run sets them to those that the data have."""
    repeat_cap: float = Field(1.0, ge=0, le=1)
    """Largest fraction of a list for items of the user's history, unless a request sets another. The evaluation uses no
    cap."""

    @property
    def scored_sources(self) -> dict[str, int]:
        """The sources whose scores are features, with their columns in source scores."""
        names = self.candidates.source_names
        return {name: column for column, name in enumerate(names) if SOURCES[name].has_feature}

    @property
    def features(self) -> tuple[Feature, ...]:
        """All features of this code for these sources, in the order of the columns."""
        return feature_table(tuple(self.scored_sources), self.attributes)

    def for_attributes(self, attributes: Attributes) -> "InferenceConfig":
        """The settings for a shop with these attributes of items: their features, and the sources that need any."""
        update = {"candidates": self.candidates.for_attributes(bool(attributes)), "attributes": attributes.specs}
        return self.model_copy(update=update)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of `features`, in the same order."""
        return feature_names_of(self.features)

    @property
    def attribute_features(self) -> tuple[str, ...]:
        """The names of the features that come from attributes of items."""
        others = feature_names_of(feature_table(tuple(self.scored_sources)))
        return tuple(name for name in self.feature_names if name not in others)


def settings_of(opened: Bundle) -> InferenceConfig:
    """The settings of a version; raises RegistryError if this code does not accept one of them."""
    manifest = opened.manifest
    try:
        config = InferenceConfig.model_validate(manifest.inference, context={"declared_sources": manifest.sources})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("inference", *first["loc"])))
        raise RegistryError(f"version {opened.version}: manifest entry {where}: {first['msg']}") from error
    if tuple(manifest.inference.get("candidates", {}).get("sources", ())) != manifest.sources:
        problem = f"inference.candidates.sources: expected settings of {', '.join(manifest.sources)}"
        raise RegistryError(f"version {opened.version}: manifest entry {problem}")
    return config
