"""The entries of a manifest that tell what a version was trained and measured on."""

from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError

from recsys.errors import RegistryError
from recsys.registry.manifest import DateRange
from recsys.registry.store import Version
from recsys.schema import Config

Metric = Annotated[float, Field(gt=-1e9, lt=1e9)]


class Summary(Config):
    """Entries as in `Manifest`. A version of another format may lack them, and may have others."""

    model_config = ConfigDict(extra="ignore")

    data: str | None = None
    date_range: DateRange | None = None
    targets: tuple[str, ...] = ()
    test_days: int | None = Field(None, ge=1)
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
