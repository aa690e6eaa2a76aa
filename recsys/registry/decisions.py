"""Decisions of retraining: whether a challenger replaced production, with the figures, beside the versions.

decisions/VERSION.json    the decision about a published version
retrains/TIME-….json      the newest decisions, also those of runs that published nothing
"""

import re
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator

from recsys.errors import RegistryError
from recsys.registry.store import Store
from recsys.schema import LATEST, Config

DECISIONS: Final = "decisions/"
RETRAINS: Final = "retrains/"
RETRAIN: Final = re.compile(rf"{RETRAINS}\d{{8}}-\d{{6}}-[0-9a-f]{{6}}\.json")
KEPT_RETRAINS: Final = 100
"""Runs that are remembered."""
READERS: Final = 8
"""Decisions read at the same time."""

Outcome = Literal["promoted", "kept", "refused"]
"""promoted: the challenger is in production; kept: it is published, and production stays; refused: nothing was trained,
since a gate on the data did not let it through."""
Opponent = Literal["version", "refit", "same settings"]
"""The model that stood for production. version: the version itself; refit: its settings, refitted as of the cut; same
settings: its settings are the challenger's, so that their refit would be the challenger itself: nothing is compared."""


class GateResult(Config):
    """The result of a gate on the data.

    figure: what was measured and what was expected, in words
    passed: whether the data are as expected
    allowed: whether the run goes on all the same, see --allow
    """

    model_config = ConfigDict(extra="ignore")  # a later release may add entries

    gate: str
    passed: bool
    figure: str
    allowed: bool = False


class Comparison(Config):
    """The comparison of a challenger with production on users and events that neither of them has seen.

    metric: such as ndcg@10, a mean over the users; k and users are the same for both
    start, end: the window, ms; users: number of users; targets: events that count as hits
    opponent: see Opponent; why: why it stood for production
    difference, low, high: challenger minus production, paired by user, with its bootstrap interval
    margin: largest fraction of production's metric that the challenger may lose
    bound: -margin * production; the challenger is not worse if `low` is at or above it
    """

    model_config = ConfigDict(extra="ignore")

    metric: str
    users: int
    start: int = Field(ge=0, le=LATEST)
    end: int = Field(ge=0, le=LATEST)
    targets: tuple[str, ...]
    opponent: Opponent
    why: str
    challenger: float
    production: float
    difference: float
    low: float
    high: float
    margin: float
    bound: float


class Decision(Config):
    """The decision of one run of `recsys retrain`.

    reason: the decision in words
    version: the challenger's version, None if nothing was published
    production: the version in production when the run began, None without one
    decided: UTC, ISO 8601
    data: the source as the person named it; end: time of its newest event, ms
    figures: those of the comparison, None without one
    """

    model_config = ConfigDict(extra="ignore")

    outcome: Outcome
    reason: str
    version: str | None = None
    production: str | None = None
    decided: str
    data: str
    end: int
    gates: tuple[GateResult, ...] = ()
    figures: Comparison | None = None

    @field_validator("decided")
    @classmethod
    def _dated(cls, decided: str) -> str:
        if datetime.fromisoformat(decided).tzinfo is None:
            raise ValueError("expected a time with its zone")
        return decided

    def dump(self) -> bytes:
        """The decision as the text of a file."""
        return f"{self.model_dump_json(indent=1)}\n".encode()


def keep_beside(store: Store, decision: Decision) -> None:
    """Keep a decision beside its version, if there is one; a later one replaces it. Raises RegistryError."""
    if decision.version is not None:
        store.files.write(_beside(decision.version), decision.dump())


def record(store: Store, decision: Decision) -> None:
    """Keep the decision of a run that is over: beside its version, and among the newest runs. Raises RegistryError."""
    keep_beside(store, decision)
    moment = datetime.fromisoformat(decision.decided).astimezone(UTC)
    store.files.write(f"{RETRAINS}{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}.json", decision.dump())
    store.files.remove(*_retrains(store)[:-KEPT_RETRAINS])


def decision_about(store: Store, version: str) -> Decision | None:
    """The decision about a version; None if no retraining published it. Raises RegistryError if it cannot be read."""
    return _read(store, _beside(version))


def last_decision(store: Store) -> Decision | None:
    """The decision of the newest run; None if there was none. Raises RegistryError if it cannot be read."""
    names = _retrains(store)
    return _read(store, names[-1]) if names else None


def _retrains(store: Store) -> list[str]:
    """The names of the decisions of runs, ascending; other files, such as a person's copy, are none."""
    return [name for name in store.files.names(RETRAINS) if RETRAIN.fullmatch(name)]


def outcomes(store: Store) -> Mapping[str, str]:
    """The outcome of each version that has a decision, "broken" where it cannot be read."""
    names = store.files.names(DECISIONS)
    versions = [name.removeprefix(DECISIONS).removesuffix(".json") for name in names]
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(versions, pool.map(lambda version: _outcome(store, version), versions), strict=True))


def forget_removed(store: Store) -> None:
    """Remove the decisions about versions that are not there any more. Call it with the lock held."""
    known = {_beside(version.name) for version in store.versions()}
    store.files.remove(*[name for name in store.files.names(DECISIONS) if name not in known])


def _outcome(store: Store, version: str) -> str:
    try:
        decision = decision_about(store, version)
    except RegistryError:
        return "broken"
    return "" if decision is None else decision.outcome


def _read(store: Store, name: str) -> Decision | None:
    stored = store.files.read(name)
    if stored is None:
        return None
    try:
        return Decision.model_validate_json(stored[0])
    except ValidationError as error:
        raise RegistryError(f"{store}/{name}: expected a decision: {error.errors()[0]['msg']}") from error


def _beside(version: str) -> str:
    return f"{DECISIONS}{version}.json"
