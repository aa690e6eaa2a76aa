"""The stages of the graph over handles that answer in this process: its calls, and what it makes of their results."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayActorError

from recsys.histories import Histories
from recsys.inference import mixed
from recsys.inference.options import BatchOptions
from recsys.inference.recommender import Recommendations, Recommender
from recsys.inference.servable import Servable
from recsys.registry.bundle import Bundle
from recsys.rules.batch import BatchRules
from recsys.rules.book import UnknownRules
from recsys.rules.file import Rule, RulesFile
from recsys.rules.request import RequestRules, Target
from recsys.schema import OBJECTIVES
from recsys.serving.errors import Unavailable
from recsys.serving.graph_stages import LACKS_RULES, GraphStages
from recsys.serving.stages import LocalStages
from tests.support.bundles import retrained, small_bundle, with_sessions
from tests.support.shop_data import END
from tests.support.soak import scaled
from tests.support.toy_sessions import ToySessions
from tests.support.world import NOBODY_DID_ANYTHING


class Handle:
    """Of a deployment: `answers` takes the place of its replica."""

    def __init__(self, answers: Callable[..., Any]) -> None:
        self._answers, self.asked = answers, 0

    def options(self, **_: str) -> "Handle":
        return self

    def remote(self, version: str, *asked: Any, request_ids: tuple[str, ...]) -> Awaitable[Any]:
        async def answer() -> Any:
            self.asked += 1
            return self._answers(*asked)

        return answer()


@cache
def servable() -> Servable:
    """With a ranker of its own for items that are new to a user, and another alpha for these."""
    bundle: Bundle = small_bundle()
    other = retrained(bundle)
    manifest = bundle.manifest.model_copy(update={"discovery_blend": other.manifest.blend})
    bundle = replace(bundle, manifest=manifest, discovery_ranker=other.ranker)
    return Servable(bundle, Recommender.from_bundle(bundle))


def answers() -> dict[str, Callable[..., Any]]:
    """What the replicas of each stage call."""
    its = servable().recommender
    candidates = partial(mixed.propose_any, its)
    return {"candidates": candidates, "factors": its.fold_in, "rank": its.rank}


def stages(**instead: Callable[..., Any]) -> dict[str, Handle]:
    return {name: Handle(answer) for name, answer in (answers() | instead).items()}


def ask(handles: dict[str, Handle], histories: Histories, objectives: np.ndarray) -> Recommendations | None:
    run = GraphStages(handles["candidates"], handles["factors"], handles["rank"])
    options = BatchOptions(10, objectives, np.full(len(histories), np.nan))
    return asyncio.run(run(servable(), histories, END, options))


@pytest.fixture
def everybody() -> Histories:
    return Histories.concat([NOBODY_DID_ANYTHING, servable().bundle.snapshot.histories])


def mixed_objectives(histories: Histories) -> np.ndarray:
    return (np.arange(len(histories)) % len(OBJECTIVES)).astype(np.int8)


def test_a_batch_of_all_objectives_gets_what_the_stages_say_in_process(everybody: Histories) -> None:
    found = ask(stages(), everybody, mixed_objectives(everybody))
    expected = servable().recommender(everybody, END, 10, mixed_objectives(everybody))
    assert found is not None
    for field in fields(expected):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name), field.name)


def test_explanations_are_those_of_the_stages_in_process(everybody: Histories) -> None:
    """In a batch of users with and without them; no stage is called for them."""
    handles, counts = stages(), np.arange(len(everybody)) % 4
    run = GraphStages(handles["candidates"], handles["factors"], handles["rank"])
    options = BatchOptions(10, mixed_objectives(everybody), np.full(len(everybody), np.nan), explained=counts)
    best = asyncio.run(run(servable(), everybody, END, options))
    expected = servable().recommender(everybody, END, 10, mixed_objectives(everybody), explained=counts)
    assert best is not None
    assert best.explanations is not None
    for field in fields(best.explanations):
        ours, theirs = (getattr(each.explanations, field.name) for each in (best, expected))
        np.testing.assert_array_equal(ours, theirs, field.name)
    assert np.diff(best.explanations.offsets).tolist() == np.minimum(counts, np.diff(best.offsets)).tolist()
    assert [handle.asked for handle in handles.values()] == [1, 1, 1]


def test_every_objective_has_its_ranker_whoever_else_is_asked_about(everybody: Histories) -> None:
    together = servable().recommender(everybody, END, 10, mixed_objectives(everybody))
    for user in range(0, len(everybody), scaled(7, 1)):
        alone = servable().recommender(everybody.take(np.array([user])), END, 10, mixed_objectives(everybody)[[user]])
        mine = slice(*together.offsets[user : user + 2])
        assert together.items[mine].tolist() == alone.items.tolist()
        assert together.lgb_scores[mine].tolist() == alone.lgb_scores.tolist()


def test_the_factors_are_not_asked_where_nobody_is_warm() -> None:
    handles = stages()
    found = ask(handles, Histories.concat([NOBODY_DID_ANYTHING] * 2), np.zeros(2, np.int8))
    assert found is not None
    assert len(found.items) == 20
    assert np.isnan(found.mf_scores).all()
    assert [handle.asked for handle in handles.values()] == [1, 0, 1]


def test_who_asks_alone_is_folded_in_by_the_ingress() -> None:
    histories = servable().bundle.snapshot.histories
    alone = histories.take(servable().recommender.factors.warm(histories).nonzero()[0][:1])
    handles = stages()
    found = ask(handles, alone, np.zeros(1, np.int8))
    expected = servable().recommender(alone, END, 10)
    assert found is not None
    assert found.warm.all()
    np.testing.assert_array_equal(found.mf_scores, expected.mf_scores)
    assert [handle.asked for handle in handles.values()] == [1, 0, 1]


@pytest.mark.parametrize("stage", ["candidates", "factors", "rank"])
def test_a_stage_that_lacks_the_version_ends_the_question(everybody: Histories, stage: str) -> None:
    handles = stages(**{stage: lambda *_: None})
    assert ask(handles, everybody, mixed_objectives(everybody)) is None
    assert handles["rank"].asked == (stage == "rank")


@pytest.mark.parametrize("stage", ["candidates", "rank"])
def test_a_replica_that_died_is_asked_once_more(everybody: Histories, stage: str) -> None:
    deaths = iter([True])

    def dies_once(*asked: Any) -> Any:
        if next(deaths, False):
            raise RayActorError
        return answers()[stage](*asked)

    handles = stages(**{stage: dies_once})
    assert ask(handles, everybody, mixed_objectives(everybody)) is not None
    assert handles[stage].asked == 2


def test_a_stage_that_keeps_dying_is_unavailable(everybody: Histories) -> None:
    def dies(*_: Any) -> Any:
        raise RayActorError

    with pytest.raises(Unavailable, match="rank: "):
        ask(stages(rank=dies), everybody, mixed_objectives(everybody))


# Sessions


def toy_servable() -> Servable:
    """With a session model that proposes nothing to many sessions."""
    bundle = replace(servable().bundle, sessions=ToySessions(len(servable().bundle.items), 30))
    return Servable(bundle, Recommender.from_bundle(bundle))


def trained_servable() -> Servable:
    bundle = with_sessions(servable().bundle)
    return Servable(bundle, Recommender.from_bundle(bundle))


def replicas_of(using: Recommender) -> tuple[Handle, Handle, Handle]:
    """Replicas that compute as the deployments do."""

    def rank(features: Any, for_discovery: Any, session_features: Any = None) -> Any:
        if session_features is None:
            return using.rank(features, for_discovery)
        return mixed.rank(using, features, for_discovery, session_features)

    def propose(*arguments: Any) -> Any:
        try:
            return mixed.propose_any(using, *arguments)
        except UnknownRules:
            return LACKS_RULES

    return Handle(propose), Handle(using.fold_in), Handle(rank)


def some_rules(n_users: int) -> BatchRules | None:
    """Of a request and of a file, for a part of the users."""
    requests = (
        {},
        {"only": [{"categories": [1]}]},
        {"exclude_seen": True},
        {"cap": [{"at_most": 1, "per": "category"}]},
    )
    wanted = [RequestRules.model_validate(requests[user % 4]) for user in range(n_users)]
    boost = Rule(name="boost", boost=50, where=Target(categories=(2,)), fraction=0.5)
    return BatchRules.build(wanted, [10] * n_users, list(range(n_users)), RulesFile((boost,), (1,), "digest"), END)


def explanations_of(found: Recommendations, expected: Recommendations) -> tuple[Any, Any]:
    return found.explanations, expected.explanations


@pytest.mark.parametrize("chosen", [toy_servable, trained_servable], ids=["some sessions", "trained"])
@pytest.mark.parametrize("sessions", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("ruled", [False, True])
def test_sessions_in_a_batch_get_what_the_stages_say_in_process(
    everybody: Histories, chosen: Callable[[], Servable], sessions: float, ruled: bool
) -> None:
    """A part of the requests, or all, have their newest event as their session."""
    using = chosen()
    draw = np.random.default_rng(0).random(len(everybody)) < sessions
    in_session = np.zeros(len(everybody.times), bool)
    in_session[everybody.offsets[1:][draw & (everybody.lengths > 0)] - 1] = True
    handles = replicas_of(using.recommender)
    counts = np.arange(len(everybody)) % 4
    rules = some_rules(len(everybody)) if ruled else None
    options = BatchOptions(10, mixed_objectives(everybody), None, counts, in_session, rules)
    found = asyncio.run(GraphStages(*handles)(using, everybody, END, options))  # type: ignore[arg-type]
    expected = asyncio.run(LocalStages()(using, everybody, END, options))
    assert found is not None
    assert expected is not None
    assert found.explanations is not None
    assert (found.programs is None) is (expected.programs is None) is not ruled
    same_objects = replace(expected, explanations=found.explanations, programs=found.programs)
    for ours, theirs in ((found, same_objects), explanations_of(found, expected)):
        for field in fields(theirs):
            np.testing.assert_array_equal(getattr(ours, field.name), getattr(theirs, field.name), field.name)
    assert np.diff(found.explanations.offsets).tolist() == np.minimum(counts, np.diff(found.offsets)).tolist()
    assert [handle.asked for handle in handles] == [1 + ruled, int(sessions < 1), 1]  # the file is sent once
    assert len(found.n_candidates) == len(everybody)


def test_a_stage_that_lacks_the_version_ends_a_batch_of_sessions(everybody: Histories) -> None:
    chosen = trained_servable()
    options = BatchOptions(10, mixed_objectives(everybody), in_session=np.ones(len(everybody.times), bool))
    for stage in (0, 2):
        handles = list(replicas_of(chosen.recommender))
        handles[stage] = Handle(lambda *_: None)
        assert asyncio.run(GraphStages(*handles)(chosen, everybody, END, options)) is None  # type: ignore[arg-type]


class Silent(Handle):
    """No replica is there: Serve keeps the call."""

    def remote(self, version: str, *asked: Any, request_ids: tuple[str, ...]) -> Awaitable[Any]:
        self.asked += 1
        return asyncio.Event().wait()


def test_without_a_replica_for_it_users_are_folded_in_by_the_ingress(everybody: Histories) -> None:
    def dies(*_: Any) -> Any:
        raise RayActorError

    expected = ask(stages(), everybody, mixed_objectives(everybody))
    for factors in (Handle(dies), Silent(dies)):
        handles = stages() | {"factors": factors}
        run = GraphStages(handles["candidates"], factors, handles["rank"])
        options = BatchOptions(10, mixed_objectives(everybody), np.full(len(everybody), np.nan))

        async def twice(run: GraphStages = run, options: BatchOptions = options) -> list[Recommendations | None]:
            return [await run(servable(), everybody, END, options) for _ in range(2)]

        for found in asyncio.run(twice()):
            assert found is not None
            assert expected is not None
            np.testing.assert_array_equal(found.items, expected.items)
            np.testing.assert_array_equal(found.mf_scores, expected.mf_scores)
        assert factors.asked == 1  # the next batch does not wait for it
