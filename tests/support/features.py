"""The features and sources of this code with default settings."""

from recsys.features.definitions import categorical_of, feature_names_of
from recsys.inference.settings import InferenceConfig

FEATURES = InferenceConfig().features
NAMES = feature_names_of(FEATURES)
CATEGORICAL = categorical_of(FEATURES)
SOURCES = InferenceConfig().candidates.source_names
SCORED = InferenceConfig().scored_sources
