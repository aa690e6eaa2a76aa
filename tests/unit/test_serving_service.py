"""The service without HTTP: which version answers, what happens when stages fail, and that the answers are right."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.inference.recommender import Recommender
from recsys.registry.bundle import Bundle, read
from recsys.registry.folder import FolderStore
from recsys.registry.pointer import Pointer
from recsys.schema import EVENT_TYPES, PURCHASE, UNKNOWN
from recsys.serving.api.recommendations import Recommendations
from recsys.serving.api.users import UserEvents, UserStats, events_message, stats_message
from recsys.serving.errors import HttpError, Unavailable
from recsys.serving.service import Service
from tests.support.bundles import flip_a_byte, publish, retrained, without_factors
from tests.support.features import SOURCES
from tests.support.services import (
    FakeStages,
    cold_row,
    health,
    recommend,
    service_bundle,
    service_of,
    until,
    until_served,
)
from tests.support.shop_data import END
from tests.support.world import small_world

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    """v1 in production; v2 scores otherwise. Tests that promote use a copy."""
    store = FolderStore(tmp_path_factory.mktemp("registry"))
    publish(store, service_bundle(), "v1")
    publish(store, retrained(service_bundle()), "v2", promote=False)
    return store


@pytest.fixture
def own(store: FolderStore, tmp_path: Path) -> FolderStore:
    """The same registry for one test alone."""
    for path in store.root.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(store.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return FolderStore(tmp_path)


@pytest.fixture
def bundle(store: FolderStore) -> Bundle:
    return read(store.path("v1"), verify=False)


@pytest.fixture
async def stages() -> FakeStages:
    return FakeStages()


async def ready(service: Service) -> Service:
    await service.following.update()
    return service


async def status_of(answer: Any) -> tuple[int, str]:
    """Status and text of what is refused."""
    with pytest.raises(HttpError) as refused:
        await answer
    return refused.value.status, refused.value.detail


async def stats(service: Service, user: Any) -> UserStats:
    return stats_message(await service.users.summary(str(user)))


async def events(service: Service, user: Any, limit: int) -> UserEvents:
    return events_message(await service.users.newest_events(str(user), limit))


def expected(bundle: Bundle, row: int, n: int) -> Recommendations:
    """What a direct call of the stages says, put into the answer's form."""
    found = Recommender.from_bundle(bundle)(bundle.snapshot.take(np.array([row])), bundle.manifest.live_watermark, n)
    nan_is_none = [None if np.isnan(score) else float(score) for score in found.mf_scores]
    columns = (bundle.items.decode(found.items).to_pylist(), found.scores, found.lgb_scores, nan_is_none)
    return {
        "user_id": bundle.snapshot.users[row] if row != UNKNOWN else -5,
        "user_type": "warm" if found.warm[0] else "cold",
        "model_version": bundle.version,
        "recommendations": [
            dict(zip(("itemid", "score", "lgb_score", "mf_score"), row, strict=True))
            for row in zip(*columns, strict=True)
        ],
        "total_candidates_scored": int(found.n_candidates[0]),
    }


# Answers


async def test_answers_are_those_of_the_stages_alone_or_together_with_others(
    store: FolderStore, bundle: Bundle
) -> None:
    service = await ready(service_of(store, max_batch=16, max_waiting=1000))
    rows = [UNKNOWN, *range(len(bundle.snapshot.users))]
    wanted = [expected(bundle, row, 1 + row % 50) for row in rows]
    asked = [(answer["user_id"], 1 + row % 50, True) for row, answer in zip(rows, wanted, strict=True)]
    assert await asyncio.gather(*(recommend(service, *one) for one in asked)) == wanted
    for row in (0, 1, 7, cold_row(bundle) + 1):
        assert await recommend(service, *asked[row]) == wanted[row]


async def test_no_more_items_come_than_there_are(store: FolderStore, bundle: Bundle) -> None:
    service = await ready(service_of(store))
    answer = await recommend(service, bundle.snapshot.users[0], 50)
    assert len(answer["recommendations"]) == answer["total_candidates_scored"] < 50


async def test_a_score_is_the_blend_or_that_of_the_ranker_alone(store: FolderStore, bundle: Bundle) -> None:
    service = await ready(service_of(store))
    alpha = bundle.manifest.blend.alpha
    answers = await asyncio.gather(*(recommend(service, user, 50) for user in bundle.snapshot.users.values.to_pylist()))
    without, mixed = set(), set()
    for answer in answers:
        scores = [item["score"] for item in answer["recommendations"]]
        assert scores == sorted(scores, reverse=True)
        for item in answer["recommendations"]:
            if item["mf_score"] is None:
                without.add(answer["user_type"])
                assert item["score"] == item["lgb_score"]
            else:
                mixed.add(answer["user_type"])
                blend = (1 - alpha) * item["lgb_score"] + alpha * item["mf_score"]
                assert item["score"] == pytest.approx(blend, abs=1e-12)
    assert without == {"warm", "cold"}
    assert mixed == {"warm"}


async def test_a_user_is_warm_by_an_event_on_an_item_with_a_factor(store: FolderStore, bundle: Bundle) -> None:
    service = await ready(service_of(store))
    known, histories = bundle.tables.factors.known, bundle.snapshot.histories
    for row, user in enumerate(bundle.snapshot.users.values.to_pylist()):
        warm = bool(known[histories.take(np.array([row])).items].any())
        assert (await stats(service, user))["user_type"] == ("warm" if warm else "cold")
    cold = str(bundle.snapshot.users[cold_row(bundle)])
    answer = await recommend(service, cold)
    assert (await stats(service, cold))["user_type"] == answer["user_type"] == "cold"
    assert {item["mf_score"] for item in answer["recommendations"]} == {None}


async def test_explain_names_sources_and_category(store: FolderStore, bundle: Bundle) -> None:
    service = await ready(service_of(store))
    user = bundle.snapshot.users[3]
    plain, explained = await asyncio.gather(recommend(service, user, 20), recommend(service, user, 20, explain=True))
    assert all(item["sources"] and set(item["sources"]) <= set(SOURCES) for item in explained["recommendations"])
    for item in explained["recommendations"]:
        code = bundle.tables.statistics.category[bundle.items.code(item["itemid"])]
        assert item["category"] == (None if code == UNKNOWN else bundle.categories[code])
        assert item["explanation"]["sentence"]
        del item["sources"], item["category"], item["explanation"]
    assert explained == plain


async def test_a_user_without_events_gets_popular_items_on_request_alone(store: FolderStore) -> None:
    service = await ready(service_of(store))
    status, detail = await status_of(recommend(service, -5))
    assert (status, "cold_start=true" in detail) == (404, True)
    one, other = await asyncio.gather(recommend(service, -5, cold_start=True), recommend(service, -6, cold_start=True))
    assert one["user_type"] == "cold"
    assert (one["user_id"], other["user_id"]) == (-5, -6)
    assert one["recommendations"] == other["recommendations"]
    assert len(one["recommendations"]) == 5


async def test_a_bad_user_in_a_batch_leaves_the_others_alone(store: FolderStore, bundle: Bundle) -> None:
    service = await ready(service_of(store))
    user = bundle.snapshot.users[0]
    bad, good, absent = await asyncio.gather(
        recommend(service, "x"),
        recommend(service, user),
        recommend(service, -5),
        return_exceptions=True,
    )
    assert isinstance(bad, HttpError)
    assert isinstance(absent, HttpError)
    assert (bad.status, absent.status) == (400, 404)
    assert good == expected(bundle, 0, 5)


# Users


async def test_stats_count_all_events_of_everybody(store: FolderStore, bundle: Bundle) -> None:
    """Histories are cut to 20 events, which most users exceed."""
    service, world = await ready(service_of(store)), small_world()
    category = bundle.tables.statistics.category
    for row, user in enumerate(world.partition.users.to_pylist()):
        whole = world.partition.histories.take(np.array([row]))
        items = np.unique(whole.items)
        found = await stats(service, user)
        assert found["user_id"] == user
        assert found["total_events"] == len(whole.items)
        assert found["purchases"] == (whole.events == PURCHASE).sum()
        assert found["conversion_rate"] == found["purchases"] / found["total_events"]
        assert found["unique_items_viewed"] == len(items)
        assert found["unique_categories_viewed"] == len(np.unique(category[items][category[items] != UNKNOWN]))
        assert milliseconds(found["first_seen"]) == whole.times[0]
        assert milliseconds(found["last_seen"]) == whole.times[-1]


def milliseconds(spoken: str) -> int:
    return int(np.datetime64(spoken, "ms").astype(np.int64))


async def test_events_come_newest_first(store: FolderStore, bundle: Bundle) -> None:
    service = await ready(service_of(store))
    row = int(np.argmax(bundle.snapshot.histories.lengths))
    history = bundle.snapshot.histories.take(np.array([row]))
    found = await events(service, bundle.snapshot.users[row], 7)
    assert found["user_id"] == bundle.snapshot.users[row]
    assert [milliseconds(event["timestamp"]) for event in found["events"]] == history.times[::-1][:7].tolist()
    assert [event["event"] for event in found["events"]] == [EVENT_TYPES[kind] for kind in history.events[::-1][:7]]
    assert [event["itemid"] for event in found["events"]] == [bundle.items[item] for item in history.items[::-1][:7]]
    assert len((await events(service, bundle.snapshot.users[row], 50))["events"]) == len(history.items)


async def test_a_random_user_is_of_the_type_wanted(store: FolderStore) -> None:
    service = await ready(service_of(store))
    for kind in ("warm", "cold"):
        user = await service.users.random_user(kind == "warm")
        assert (await stats(service, user))["user_type"] == kind


async def test_no_user_of_a_type_is_not_found(tmp_path: Path) -> None:
    bundle = service_bundle()
    known = np.flatnonzero(bundle.tables.factors.known)
    store = FolderStore(tmp_path)
    publish(store, without_factors(bundle, known), "v1")
    service = await ready(service_of(store))
    status, detail = await status_of(service.users.random_user(True))
    assert (status, "no warm user" in detail) == (404, True)
    assert (await stats(service, await service.users.random_user(False)))["user_type"] == "cold"


# The clock


@pytest.mark.parametrize("clock", ["data", "wall"])
async def test_now_is_the_end_of_the_data_or_the_time_of_day(
    store: FolderStore, stages: FakeStages, bundle: Bundle, clock: str
) -> None:
    service = await ready(service_of(store, stages, clock=clock))
    before = time.time()
    await recommend(service, bundle.snapshot.users[0])
    [call] = stages.calls
    if clock == "data":
        assert call.now == END
    else:
        assert int(before * 1000) <= call.now <= time.time() * 1000


# Versions


async def test_promotion_and_rollback_are_followed(own: FolderStore, bundle: Bundle) -> None:
    service = service_of(own, poll_seconds=0.005)
    following = asyncio.create_task(service.following.run())
    user = bundle.snapshot.users[0]
    seen = {}
    for act, version in ((None, "v1"), (own.promote, "v2"), (lambda _: own.rollback(), "v1")):
        if act is not None:
            act(version)
        await until_served(service, version)
        answer = await recommend(service, user)
        assert answer == seen.setdefault(version, answer)
        assert answer["model_version"] == version
        assert (await health(service))["model_version"] == version
    assert seen["v1"]["recommendations"] != seen["v2"]["recommendations"]
    assert seen["v2"] == expected(read(own.path("v2")), 0, 5)
    following.cancel()


async def test_an_empty_registry_gets_its_first_version(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    service = service_of(store, poll_seconds=0.005)
    await service.following.start()
    following = asyncio.create_task(service.following.run())
    status, detail = await status_of(recommend(service, 1))
    assert status == 503
    assert detail.startswith("the service is not ready, no version is loaded: RegistryError: no registry at ")
    assert (await status_of(health(service)))[0] == 503
    publish(store, service_bundle(), "v1")
    await until_served(service, "v1")
    assert (await health(service))["status"] == "healthy"
    following.cancel()


async def test_a_broken_version_is_refused_and_the_old_one_serves_on(own: FolderStore, bundle: Bundle) -> None:
    service = await ready(service_of(own))
    own.promote("v2")
    flip_a_byte(own.path("v2") / "ranker.txt")
    await service.following.update()
    found = await health(service)
    assert (found["status"], found["model_version"]) == ("healthy", "v1")
    assert found["refused"]["version"] == "v2"
    assert "ranker.txt has sha256" in found["refused"]["reason"]
    assert await recommend(service, bundle.snapshot.users[0]) == expected(bundle, 0, 5)
    own.rollback()
    await service.following.update()
    assert (await health(service))["refused"] is None


async def test_a_service_that_starts_while_production_is_broken_takes_the_one_before(
    own: FolderStore, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.promote("v2")
    flip_a_byte(own.path("v2") / "ranker.txt")
    service = await ready(service_of(own))
    found = await health(service)
    assert (found["status"], found["model_version"], found["refused"]["version"]) == ("healthy", "v1", "v2")
    assert await recommend(service, bundle.snapshot.users[0]) == expected(bundle, 0, 5)
    flip_a_byte(own.path("v2") / "ranker.txt")  # which mends it
    monkeypatch.setattr("recsys.serving.following.RETRY_REJECTED_SECONDS", 0.0)
    await service.following.update()
    found = await health(service)
    assert (found["model_version"], found["refused"]) == ("v2", None)


async def test_a_stage_that_is_late_does_not_delay_the_one_before(
    own: FolderStore, stages: FakeStages, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(version: str) -> None:
        if version == "v1":
            raise Unavailable("rank is not there yet")

    own.promote("v2")
    flip_a_byte(own.path("v2") / "ranker.txt")
    service = service_of(own, stages)
    with monkeypatch.context() as patch:
        patch.setattr(stages, "load", late)
        await service.following.update()
    assert (await status_of(health(service)))[0] == 503
    await service.following.update()
    assert (await health(service))["model_version"] == "v1"


async def test_the_start_waits_for_stages_whose_replicas_start_too(own: FolderStore, stages: FakeStages) -> None:
    calls: list[str] = []

    class Late(FakeStages):
        async def load(self, version: str) -> None:
            calls.append(version)
            if len(calls) < 3:
                raise Unavailable("rank is not there yet")

    own.promote("v1")
    service = service_of(own, Late())
    await service.following.start()
    assert calls == ["v1"] * 3
    assert (await health(service))["model_version"] == "v1"


async def test_a_version_asked_for_by_name_is_not_replaced_by_another(own: FolderStore) -> None:
    own.promote("v2")
    flip_a_byte(own.path("v2") / "ranker.txt")
    service = await ready(service_of(own, version="v2"))
    assert (await status_of(health(service)))[0] == 503


def broken(own: FolderStore) -> None:
    (own.root / "production").write_bytes(b"{")


def absent(own: FolderStore) -> None:
    (own.root / "production").unlink()


def pipe(own: FolderStore) -> None:
    absent(own)
    os.mkfifo(own.root / "production")


def gone(own: FolderStore) -> None:
    own.root.rename(own.root.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (broken, "production is broken, expected JSON with a version: Invalid JSON"),
        (pipe, "production is broken, expected JSON with a version: it is not a regular file"),
        (absent, "no version is in production in "),
        (gone, "no registry at "),
    ],
)
async def test_health_says_why_and_since_when_the_version_in_production_is_not_known(
    own: FolderStore, fault: Callable[[FolderStore], None], problem: str
) -> None:
    service = await ready(service_of(own))
    assert (await health(service))["problem_since"] is None
    before = int(time.time() * 1000)
    fault(own)
    seen = set()
    for _ in range(2):
        await service.following.update()
        found = await health(service)
        assert (found["status"], found["model_version"]) == ("healthy", "v1")
        assert problem in str(found["problem"])
        seen.add(found["problem_since"])
    [since] = seen
    assert before <= milliseconds(str(since)) <= time.time() * 1000
    if not own.root.exists():
        own.root.with_name("elsewhere").rename(own.root)
    own.promote("v1")  # repairs the pointer
    await service.following.update()
    found = await health(service)
    assert (found["problem"], found["problem_since"]) == (None, None)


async def test_health_says_that_the_registry_does_not_respond(
    own: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(FolderStore):
        """A registry on a disk that hangs."""

        open = threading.Event()

        def pointer(self) -> Pointer | None:
            self.open.wait(60)
            return super().pointer()

    store = Stuck(own.root)
    store.open.set()
    service = await ready(service_of(store))
    monkeypatch.setattr("recsys.serving.following.READ_SECONDS", 0.01)
    store.open.clear()
    own.promote("v2")
    for _ in range(2):
        await service.following.update()
    found = await health(service)
    assert (found["status"], found["model_version"]) == ("healthy", "v1")
    assert "does not respond within 0.01 s" in str(found["problem"])
    store.open.set()
    monkeypatch.setattr("recsys.serving.following.READ_SECONDS", 60.0)
    await service.following.update()
    assert (await health(service))["model_version"] == "v2"


async def test_a_promotion_during_a_slow_trial_is_served_at_once(own: FolderStore, stages: FakeStages) -> None:
    publish(own, retrained(service_bundle()), "v3", promote=False)
    service = await ready(service_of(own, stages))
    stages.slow = {"v2"}
    own.promote("v2")
    await service.following.read()
    await until(lambda: "v2" in stages.told)
    assert (await health(service))["model_version"] == "v1"
    own.promote("v3")
    await service.following.update()
    found = await health(service)
    assert (found["model_version"], found["refused"], found["problem"]) == ("v3", None, None)
    assert stages.ended == ["v2"]


async def test_a_rollback_ends_a_slow_trial(own: FolderStore, stages: FakeStages) -> None:
    service = await ready(service_of(own, stages))
    stages.slow = {"v2"}
    own.promote("v2")
    await service.following.read()
    await until(lambda: "v2" in stages.told)
    own.rollback()
    await service.following.read()
    await until(lambda: stages.ended == ["v2"])
    assert (await health(service))["model_version"] == "v1"
    stages.slow = set()
    own.promote("v2")
    await service.following.update()
    assert (await health(service))["model_version"] == "v2"


async def test_a_request_that_needs_another_version_does_not_end_the_trial(
    own: FolderStore, stages: FakeStages, bundle: Bundle
) -> None:
    service = await ready(service_of(own, stages, deadline_ms=50))
    stages.slow = stages.lacks = {"v1", "v2"}
    own.promote("v2")
    assert (await status_of(recommend(service, bundle.snapshot.users[0])))[0] == 503
    assert (stages.told[-1], stages.ended) == ("v2", [])


async def test_the_pause_after_a_rejection_grows(
    own: FolderStore, stages: FakeStages, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await ready(service_of(own, stages))
    own.promote("v2")
    stages.rejects, stages.told = "rank: the disk is full", []
    monkeypatch.setattr("recsys.serving.following.RETRY_REJECTED_SECONDS", 0.0)
    for _ in range(8):
        await service.following.update()
    assert stages.told == ["v2"] * 8
    monkeypatch.setattr("recsys.serving.following.RETRY_REJECTED_SECONDS", 1.0)  # now a pause of 128 s
    await service.following.update()
    assert stages.told == ["v2"] * 8
    own.rollback()
    await service.following.update()
    own.promote("v2")
    await service.following.update()
    assert stages.told == ["v2"] * 9


async def test_a_service_whose_only_version_is_broken_says_why(own: FolderStore) -> None:
    flip_a_byte(own.path("v1") / "ranker.txt")
    service = await ready(service_of(own))
    for answer in (health(service), recommend(service, 1)):
        status, detail = await status_of(answer)
        assert status == 503
        assert "version v1 was refused" in detail
        assert "ranker.txt has sha256" in detail


async def test_a_refused_version_is_tried_again_later(own: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    flip_a_byte(own.path("v1") / "ranker.txt")
    service = await ready(service_of(own))
    flip_a_byte(own.path("v1") / "ranker.txt")  # which mends it
    await service.following.update()
    assert (await status_of(health(service)))[0] == 503
    monkeypatch.setattr("recsys.serving.following.RETRY_REJECTED_SECONDS", 0.0)
    await service.following.update()
    assert (await health(service))["status"] == "healthy"


async def test_a_version_that_a_stage_cannot_load_is_refused(own: FolderStore, stages: FakeStages) -> None:
    service = await ready(service_of(own, stages))
    own.promote("v2")
    stages.rejects = "rank: the disk is full"
    await service.following.update()
    found = await health(service)
    assert found["refused"] == {"version": "v2", "reason": "rank: the disk is full"}
    assert (found["model_version"], found["stages"]["ingress"]) == ("v1", [["v1"]])


async def test_following_outlives_a_registry_that_cannot_be_read(own: FolderStore) -> None:
    service = service_of(own, poll_seconds=0.005)
    following = asyncio.create_task(service.following.run())
    await until_served(service, "v1")
    pointer = own.root / "production"
    content = pointer.read_bytes()
    pointer.unlink()
    pointer.mkdir()
    await service.following.update()
    assert (await health(service))["model_version"] == "v1"
    pointer.rmdir()
    pointer.write_bytes(content)
    own.promote("v2")
    await until_served(service, "v2")
    following.cancel()


async def test_a_version_given_beats_the_one_in_production(own: FolderStore) -> None:
    service = await ready(service_of(own, version="v2"))
    own.promote("v2")
    own.promote("v1")
    await service.following.update()
    assert (await health(service))["model_version"] == "v2"


async def test_an_alpha_given_beats_that_of_the_version(store: FolderStore, bundle: Bundle) -> None:
    service = await ready(service_of(store, alpha=1.0))
    assert (await health(service))["model"]["hybrid_alpha"] == 1.0
    answer = await recommend(service, bundle.snapshot.users[0], 20)
    warm = [item for item in answer["recommendations"] if item["mf_score"] is not None]
    assert warm
    assert all(item["score"] == item["mf_score"] for item in warm)


# Stages that fail


async def test_the_previous_version_answers_where_a_stage_lacks_the_new_one(
    own: FolderStore, stages: FakeStages, bundle: Bundle
) -> None:
    service = await ready(service_of(own, stages))
    own.promote("v2")
    await service.following.update()
    stages.lacks = {"v2"}
    user = bundle.snapshot.users[0]
    assert await recommend(service, user) == expected(bundle, 0, 5)
    assert [call.version for call in stages.calls] == ["v2", "v1"]
    stages.lacks = {"v1", "v2"}
    status, detail = await status_of(recommend(service, user))
    assert (status, detail) == (503, "the stages do not hold a common version yet")
    stages.lacks = set()
    assert (await recommend(service, user))["model_version"] == "v2"


@pytest.mark.parametrize("kept", [2, 3])
async def test_any_version_that_is_kept_may_answer(
    own: FolderStore, stages: FakeStages, bundle: Bundle, kept: int
) -> None:
    publish(own, retrained(service_bundle()), "v3", promote=False)
    service = await ready(service_of(own, stages, versions_kept=kept))
    for version in ("v2", "v3"):
        own.promote(version)
        await service.following.update()
    stages.lacks = {"v2", "v3"}
    user = bundle.snapshot.users[0]
    if kept == 3:
        assert await recommend(service, user) == expected(bundle, 0, 5)
        assert [call.version for call in stages.calls] == ["v3", "v2", "v1"]
    else:
        assert (await status_of(recommend(service, user)))[0] == 503
    assert (await health(service))["stages"]["ingress"] == [["v1", "v2", "v3"][-kept:]]


async def test_the_newest_version_is_fetched_where_the_stages_have_moved_on(
    own: FolderStore, stages: FakeStages, bundle: Bundle
) -> None:
    service = await ready(service_of(own, stages))
    own.promote("v2")
    stages.lacks = {"v1"}
    assert (await recommend(service, bundle.snapshot.users[0]))["model_version"] == "v2"


async def test_a_request_ends_by_its_deadline_and_frees_the_stages(
    store: FolderStore, stages: FakeStages, bundle: Bundle
) -> None:
    service = await ready(service_of(store, stages, deadline_ms=100, batches=1, max_batch=1))
    stages.open.clear()
    user = bundle.snapshot.users[0]
    first, second = await asyncio.gather(status_of(recommend(service, user)), status_of(recommend(service, user)))
    assert first == second == (503, "no answer within 100 ms")
    await until(lambda: stages.hanging == 0)
    stages.open.set()
    assert (await recommend(service, user))["model_version"] == "v1"


async def test_one_too_many_is_turned_away_at_once(store: FolderStore, stages: FakeStages, bundle: Bundle) -> None:
    service = await ready(service_of(store, stages, batches=1, max_waiting=2))
    stages.open.clear()
    user = bundle.snapshot.users[0]
    under_way = [asyncio.create_task(recommend(service, user))]
    await until(lambda: stages.hanging)
    under_way += [asyncio.create_task(recommend(service, user)) for _ in range(2)]
    one_too_many = asyncio.create_task(status_of(recommend(service, user)))
    assert await one_too_many == (503, "2 requests are waiting already")
    under_way[1].cancel()  # its client has gone
    await asyncio.wait([under_way[1]])
    under_way[1] = asyncio.create_task(recommend(service, user))
    stages.open.set()
    assert [answer["model_version"] for answer in await asyncio.gather(*under_way)] == ["v1"] * 3
    assert [call.users for call in stages.calls] == [1, 2]


async def test_a_fault_of_the_stages_reaches_those_who_asked_and_nobody_later(
    store: FolderStore, stages: FakeStages, bundle: Bundle
) -> None:
    service = await ready(service_of(store, stages))
    stages.fault = ZeroDivisionError("boom")
    user = bundle.snapshot.users[0]
    with pytest.raises(ZeroDivisionError):
        await recommend(service, user)
    stages.fault = asyncio.CancelledError()
    assert (await status_of(recommend(service, user)))[0] == 503
    stages.fault = None
    assert (await recommend(service, user))["model_version"] == "v1"


# Health


@pytest.mark.parametrize(
    ("replicas", "status", "lacking"),
    [
        ([["v1"], ["v0", "v1"]], "healthy", None),
        ([["v1"], ["v0"]], "unavailable", "rank"),
        ([[]], "unavailable", "rank"),
        ([], "unavailable", "rank"),
    ],
)
async def test_health_asks_every_replica_of_every_stage(
    store: FolderStore, stages: FakeStages, replicas: list[list[str]], status: str, lacking: str | None
) -> None:
    service = await ready(service_of(store, stages))
    stages.stages = {"candidates": [["v1"]], "rank": replicas}
    found = await health(service)
    assert found["status"] == status
    assert found["stages"] == {"ingress": [["v1"]], "candidates": [["v1"]], "rank": replicas}
    assert found.get("detail") == (lacking and f"version v1 is not held by all of: {lacking}")


async def test_a_replica_that_lacks_the_version_is_told_to_load_it_when_health_is_asked(
    store: FolderStore, stages: FakeStages
) -> None:
    service = await ready(service_of(store, stages))
    stages.stages, stages.told = {"rank": [["v1"]]}, []
    assert (await health(service))["status"] == "healthy"
    stages.stages = {"rank": [["v0"]]}
    assert (await health(service))["status"] == "unavailable"
    await asyncio.sleep(0)
    assert stages.told == ["v1"]


async def test_health_does_not_wait_for_stages_that_hang(store: FolderStore, stages: FakeStages) -> None:
    service = await ready(service_of(store, stages, deadline_ms=50))
    stages.open.clear()
    assert await status_of(health(service)) == (503, "the stages did not answer within 50 ms")
