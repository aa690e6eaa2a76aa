"""The health of the service."""

from typing import Annotated, Final, Literal, NotRequired

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import Field
from typing_extensions import TypedDict

from recsys import __version__
from recsys.registry.manifest import Manifest
from recsys.serving.access.keys import KeysReport
from recsys.serving.api.errors import responses
from recsys.serving.api.messages import Count, Fraction, Time, VersionName, json_response, message, utc_text
from recsys.serving.api.scopes import caller_of, needs
from recsys.serving.health import HealthReport
from recsys.serving.rules import RulesReport
from recsys.serving.service import Service

LEARNED: Final = "Hybrid (LGB + MF with fold-in)"
UNLEARNED: Final = "Sources by their weights, not learned"
HIDDEN: Final = "a key with the scope admin shows it"
"""Stands for a detail in the response to other callers, where the service has keys."""


@message
class DateRange(TypedDict):
    start: Time
    end: Time


@message
class DataStats(TypedDict):
    total_events: Count
    unique_users: Count
    unique_items: Count
    date_range: DateRange


@message
class ModelStats(TypedDict):
    version: VersionName
    created: Annotated[str, Field(description="UTC, ISO 8601", examples=["2026-11-23T08:35:01.120+00:00"])]
    features: Count
    mf_users: Count
    mf_items: Count
    hybrid_alpha: Fraction
    """Weight of the factorization for all items."""
    discovery_alpha: Fraction
    """Weight of the factorization for items new to the user, which `objective=discover` asks for."""
    not_learned: Annotated[str | None, Field(examples=[None])]
    """Why nothing was learned from the data, so that the sources' weights alone rank; null for a learned version."""
    metrics: Annotated[dict[str, float | None], Field(examples=[{"ndcg@10 all": 0.12, "ndcg@10 cold": None}])]
    """Of the evaluated model."""


@message
class Refused(TypedDict):
    version: VersionName
    reason: Annotated[str, Field(examples=["ranker.txt has 0 bytes, expected 48219"])]


@message
class Rules(TypedDict):
    file: Annotated[str, Field(examples=["/shop/rules.yaml"])]
    digest: Annotated[str, Field(examples=["5f0c7d9e21ab34cd"])]
    """A hash of the file in use."""
    rules: Count
    """Rules in use."""
    problem: Annotated[str | None, Field(examples=["/shop/rules.yaml, line 7: rule 'sale': boost: …"])]
    """Why the file as it is now is not used; the last valid one is."""
    problem_since: Annotated[Time | None, Field(examples=[None])]
    not_applied: Annotated[list[str], Field(examples=[["line 12: rule 'x': this version has no attribute 'price'"]])]
    """Rules that a loaded version cannot apply, and why."""
    unknown: Annotated[list[str], Field(examples=[["line 3: rule 'sale': this version has no brand 'Acmee'"]])]
    """Ids and words in rules that a loaded version does not have, at most a hundred. The rules hold without them."""


@message
class Keys(TypedDict):
    valid: Count
    """Keys that are valid now."""
    problem: Annotated[str | None, Field(examples=["/shop/keys.yaml, line 7: key 2: sha256: …"])]
    """Why the file as it is now is not used; the last valid one is."""
    problem_since: Annotated[Time | None, Field(examples=[None])]


@message
class Health(TypedDict):
    detail: NotRequired[Annotated[str, Field(examples=["version v2 is not held by all of: rank"])]]
    """With `unavailable`: the stages of which a replica has not loaded the version."""
    status: Literal["healthy", "unavailable"]
    service: Annotated[str, Field(examples=["E-Commerce Recommendation API"])]
    version: Annotated[str, Field(examples=["0.1.0"])]
    """Of the code."""
    mode: Annotated[str, Field(examples=["Hybrid (LGB + MF with fold-in), graph"])]
    model_version: VersionName
    stats: DataStats
    model: ModelStats
    stages: Annotated[dict[str, list[list[str]]], Field(examples=[{"ingress": [["v1", "v2"]], "rank": [["v1", "v2"]]}])]
    """For each stage the versions that each of its replicas has loaded; of the ingress, of this replica alone."""
    refused: Refused | None
    """A version that is in production but cannot be served, and why."""
    problem: Annotated[str | None, Field(examples=[None])]
    """Why it is not known now which version is in production, or whether the stages have loaded it. The version of
    `model_version` is served meanwhile."""
    problem_since: Annotated[Time | None, Field(examples=[None])]
    """When the problem began, UTC."""
    rules: NotRequired[Rules]
    """The rules file, for a service with one."""
    keys: NotRequired[Keys]
    """The API keys, for a service with keys and a caller whose key has the scope `admin`. Without it, the texts of
    problems and reasons are left out of the other fields too."""


def without_details(health: Health) -> Health:
    """The same for a caller who may not see how the service is run: whether there are problems, but not which."""
    shown = Health(**health)
    if refused := health["refused"]:
        shown["refused"] = Refused(version=refused["version"], reason=HIDDEN)
    shown["problem"] = _hidden(health["problem"])
    if "rules" in health:
        rules = health["rules"]
        shown["rules"] = Rules(
            file=HIDDEN,
            digest=rules["digest"],
            rules=rules["rules"],
            problem=_hidden(rules["problem"]),
            problem_since=rules["problem_since"],
            not_applied=[HIDDEN] if rules["not_applied"] else [],
            unknown=[HIDDEN] if rules["unknown"] else [],
        )
    return shown


def _hidden(text: str | None) -> str | None:
    return None if text is None else HIDDEN


def _keys_message(keys: KeysReport) -> Keys:
    problem = keys.problem
    return Keys(
        valid=keys.n_valid,
        problem=problem.text if problem else None,
        problem_since=utc_text(problem.since) if problem else None,
    )


def health_message(report: HealthReport) -> Health:
    """The state of the service as it goes over HTTP."""
    bundle, rejection = report.served.bundle, report.rejection
    health = Health(
        status="unavailable" if report.lacking else "healthy",
        service="E-Commerce Recommendation API",
        version=__version__,
        mode=f"{LEARNED if bundle.manifest.not_learned is None else UNLEARNED}, {report.topology}",
        model_version=bundle.version,
        stats=_data_stats(bundle.manifest),
        model=_model_stats(bundle.version, bundle.manifest),
        stages={stage: [list(names) for names in replicas] for stage, replicas in report.loaded.items()},
        refused=Refused(version=rejection.version, reason=rejection.reason) if rejection else None,
        problem=report.problem.text if report.problem else None,
        problem_since=utc_text(report.problem.since) if report.problem else None,
    )
    if report.rules is not None:
        health["rules"] = _rules_message(report.rules)
    if not report.lacking:
        return health
    return {"detail": f"version {bundle.version} is not held by all of: {', '.join(report.lacking)}", **health}


def _rules_message(rules: RulesReport) -> Rules:
    return Rules(
        file=rules.address,
        digest=rules.digest,
        rules=rules.n_rules,
        problem=rules.problem.text if rules.problem else None,
        problem_since=utc_text(rules.problem.since) if rules.problem else None,
        not_applied=list(rules.not_applied),
        unknown=list(rules.unknown),
    )


def _data_stats(manifest: Manifest) -> DataStats:
    return DataStats(
        total_events=sum(manifest.counts.events.values()),
        unique_users=manifest.counts.users,
        unique_items=manifest.counts.items,
        date_range=DateRange(start=utc_text(manifest.date_range.start), end=utc_text(manifest.date_range.end)),
    )


def _model_stats(version: str, manifest: Manifest) -> ModelStats:
    all_items, discovery = manifest.blends
    return ModelStats(
        version=version,
        created=manifest.created,
        features=len(manifest.features),
        mf_users=manifest.counts.mf_users,
        mf_items=manifest.counts.mf_items,
        hybrid_alpha=all_items.alpha,
        discovery_alpha=discovery.alpha,
        not_learned=manifest.not_learned,
        metrics=manifest.headline,
    )


def add_routes(api: FastAPI, service: Service) -> None:
    """Add GET /health."""

    @api.get("/health", responses=responses(Health, 503), response_model=None)
    @needs("open")
    async def health(request: Request) -> Response:
        """The version served, the replicas that hold it, and its data."""
        report = await service.health.report()
        message, keys = health_message(report), service.access.keys
        if keys is not None:
            caller = caller_of(request)
            if caller is not None and "admin" in caller.scopes:
                message["keys"] = _keys_message(keys.report())
            else:
                message = without_details(message)
        return json_response(message, 503 if report.lacking else 200)
