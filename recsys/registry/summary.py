"""The entries of a manifest that tell what a version was trained and measured on, and the promotion that follows."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError

from recsys.data.layout.ids import changed_kinds
from recsys.data.layout.mapping import DataMapping
from recsys.errors import RegistryError
from recsys.registry.manifest import DateRange
from recsys.registry.store import Store, Version
from recsys.schema import Config

Metric = Annotated[float, Field(gt=-1e9, lt=1e9)]


class MappingSummary(Config):
    """Entries as in `DataMapping`."""

    model_config = ConfigDict(extra="ignore")

    ids: dict[str, str] = Field(default_factory=dict)


class Summary(Config):
    """Entries as in `Manifest`. A version of another format may lack them, and may have others."""

    model_config = ConfigDict(extra="ignore")

    data: str | None = None
    mapping: MappingSummary | None = None
    date_range: DateRange | None = None
    targets: tuple[str, ...] = ()
    test_days: int | None = Field(None, ge=1)
    not_learned: str | None = None
    headline: dict[str, Metric | None] = Field(default_factory=dict)


def summary_of(version: Version) -> Summary:
    """The summary of a version; raises RegistryError if its manifest cannot be read, or an entry is invalid."""
    if "broken" in version.summary:
        raise RegistryError(str(version.summary["broken"]))
    try:
        return Summary.model_validate(version.summary)
    except ValidationError as error:
        first = error.errors()[0]
        entry = ".".join(map(str, first["loc"]))
        raise RegistryError(f"{version.name}: manifest entry {entry}: {first['msg']}") from error


Promotion = Literal["auto", "always", "never"]
"""Whether a new version goes into production; auto: unless it is not learned and would replace a learned version."""


def withheld(promotion: Promotion, store: Store, not_learned: str | None) -> str | None:
    """Why a new version is not put into production; None if it is.

    not_learned: the entry of the new version's manifest. A version in production that cannot be read may be replaced.
    """
    if promotion == "never":
        return "--promote never"
    if promotion == "always" or not_learned is None:
        return None
    current = in_production(store)
    if current is not None and current[1].not_learned is None:
        return f"it is not learned, and {current[0]} in production is"
    return None


def in_production(store: Store) -> tuple[str, Summary] | None:
    """Name and summary of the version in production; None if there is none, or none that can be read."""
    try:
        current = store.production()
        summaries = [summary_of(version) for version in store.versions() if version.name == current]
    except RegistryError:
        return None
    return (current, summaries[0]) if current is not None and summaries else None


def changed_ids(store: Store, mapping: DataMapping | None) -> str | None:
    """A sentence about the ids whose type is not that of the version in production; None if there are none.

    mapping: of the data that were read now
    """
    current = in_production(store)
    if current is None or current[1].mapping is None or mapping is None:
        return None
    return changed_kinds(current[1].mapping.ids, mapping.ids)
