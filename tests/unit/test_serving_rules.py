"""Rules over HTTP: the parameters of requests, the rules file and its reload, and the stages of the graph."""

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx import AsyncClient

from recsys.errors import DataError, RuleError
from recsys.inference.options import BatchOptions
from recsys.inference.servable import open_servable
from recsys.registry.bundle import Bundle
from recsys.registry.folder import FolderStore
from recsys.rules.batch import BatchRules
from recsys.rules.parse import parse_rules
from recsys.rules.request import RequestRules
from recsys.schema import DAY
from recsys.serving.deployments import CandidateReplica
from recsys.serving.errors import Unavailable
from recsys.serving.graph_stages import GraphStages
from recsys.serving.rules import PAUSE_SECONDS, check_rules_file
from recsys.serving.service import Service
from recsys.serving.settings import ServeSettings
from tests.support.attributed import leaf_of
from tests.support.bundles import attributed_bundle
from tests.support.services import http, recommend, service_of
from tests.support.shop_data import END, ITEMS

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return attributed_bundle()


async def items(client: AsyncClient, query: str, user: Any = 1000, n: int = 8) -> list[int]:
    response = await client.get(f"/recommend/{user}?n={n}&{query}")
    assert response.status_code == 200, response.text
    return [item["itemid"] for item in response.json()["recommendations"]]


class Facts:
    """The facts of the shop by item id; see `attributed_world`."""

    def __init__(self, bundle: Bundle) -> None:
        statistics = bundle.tables.statistics
        ids = bundle.items.values.to_pylist()
        levels = statistics.levels.tolist()
        self.categories = {
            item: {bundle.categories[code] for code in path if code >= 0}
            for item, path in zip(ids, levels, strict=True)
        }
        self.price = dict(zip(ids, statistics.item("attr_price").tolist(), strict=True))

    def brand(self, item: int) -> int:
        """The number of the item's brand."""
        return leaf_of((item - 500) // 3 if (item - 500) % 3 == 0 else ITEMS + (item - 501) // 6)


@pytest.fixture(scope="module")
def facts(bundle: Bundle) -> Facts:
    return Facts(bundle)


async def test_every_parameter_has_its_effect(client: AsyncClient, facts: Facts) -> None:
    plain = await items(client, "")
    seen = {event["itemid"] for event in (await client.get("/user/1000/events")).json()["events"]}
    assert plain[0] not in await items(client, f"exclude={plain[0]},1,99999")
    assert seen & set(plain)
    assert not seen & set(await items(client, "exclude_seen=true"))
    bought = {
        event["itemid"]
        for event in (await client.get("/user/1000/events")).json()["events"]
        if event["event"] == "transaction"
    }
    assert bought & set(plain)
    assert not bought & set(await items(client, "exclude_purchased=1"))
    for query, categories in (("only_categories=1", {1}), ("only_categories=10,13", {10, 13})):
        listed = await items(client, query)
        assert len(listed) == 8
        assert all(facts.categories[item] & categories for item in listed)
    assert not any(1 in facts.categories[item] for item in await items(client, "without_categories=1"))
    listed = await items(client, "between=price:20:30")
    assert len(listed) == 8
    assert all(20 <= facts.price[item] <= 30 for item in listed)
    assert all(facts.price[item] >= 60 for item in await items(client, "between=price:60:"))
    for query in ("only_values=brand:brand 3", 'only_values=["brand:brand 3"]'):
        listed = await items(client, query)
        assert len(listed) == 8
        assert {facts.brand(item) for item in listed} == {3}
    assert await items(client, "only_values=brand:brand 3,tags:even") == []  # odd items have no tags
    assert 0 in map(facts.brand, plain)
    assert 0 not in map(facts.brand, await items(client, "without_values=brand:brand 0"))
    last = plain[-1]
    assert (await items(client, f"boost=item:{last}:1000000"))[0] == last
    assert (await items(client, f"bury=item:{plain[0]}:1000000"))[0] != plain[0]
    assert (await items(client, f"pin={last}:2"))[1] == last
    for query in ("max_per=category:1", "max_per=brand:1"):
        leaves = [max(facts.categories[item], default=item) for item in await items(client, query, n=5)]
        assert len(set(leaves)) == len(leaves)
    assert await items(client, "diversity=1") != plain
    assert await items(client, "availability=available&diversity=0") == plain


async def test_an_unavailable_item_comes_on_demand_alone(client: AsyncClient, bundle: Bundle) -> None:
    code = int(np.flatnonzero(~bundle.tables.statistics.available)[0])
    item = bundle.items[code]
    assert await items(client, f"pin={item}:1") == await items(client, "")
    assert (await items(client, f"pin={item}:1&availability=any"))[0] == item


BAD = [
    "exclude=x",
    "exclude=",
    "exclude=1,,2",
    "exclude=[1",
    "exclude=[[1]]",
    "exclude_seen=yes",
    "exclude_purchased=2",
    "only_categories=x",
    "without_categories=",
    "only_values=brand",
    "only_values=colour:red",
    "only_values=price:3",
    "without_values=:x",
    "between=price",
    "between=price:a:b",
    "between=price:3:1",
    "between=price::",
    "between=brand:1:2",
    "availability=all",
    "boost=brand:x",
    "boost=item:5:0.5",
    "boost=item:5:x",
    "bury=colour:red:2",
    "max_per=category",
    "max_per=category:-1",
    "max_per=category:1001",
    "max_per=:1",
    "max_per=price:1",
    "diversity=2",
    "diversity=nan",
    "pin=5",
    "pin=5:0",
    "pin=x:1",
    "pin=:1",
    "rules_file=maybe",
]


@pytest.mark.parametrize("query", BAD)
async def test_a_wrong_filter_is_400_and_named(client: AsyncClient, query: str) -> None:
    response = await client.get(f"/recommend/1000?{query}")
    assert response.status_code == 400
    detail = response.json()["detail"]
    name, _, value = query.partition("=")
    of_the_version = {"colour": "colour", "price:3": "price", "brand:1:2": "brand", "price:1": "price"}
    shop_words = [word for text, word in of_the_version.items() if text in value]
    of_ids = {"exclude=x": "exclude 'x'", "only_categories=x": "category 'x'", "pin=x:1": "pin 'x'"}
    assert detail.startswith(f"{name}: ") or any(word in detail for word in [*shop_words, of_ids.get(query, "-")])


async def test_one_wrong_request_does_not_disturb_the_others_of_its_batch(client: AsyncClient) -> None:
    queries = ["", "only_values=colour:red", "only_categories=1", "exclude=x"] * 4
    responses = await asyncio.gather(*(client.get(f"/recommend/1000?{query}") for query in queries))
    assert [response.status_code for response in responses] == [200, 400, 200, 400] * 4
    assert responses[0].json() == responses[4].json()


async def test_an_empty_list_has_a_note_and_another_list_has_none(client: AsyncClient) -> None:
    empty = (await client.get("/recommend/1000?only_categories=999")).json()
    assert empty["recommendations"] == []
    assert empty["note"] == "no item of this version passes the filter only categories 999"
    assert "note" not in (await client.get("/recommend/1000?only_categories=1")).json()


# The rules file

WITHOUT = "rules:\n- name: {name}\n  filter: without\n  where: {{items: [{item}]}}\n"
BROKEN = "rules:\n- name: sale\n  boost: 0.5\n  where: {items: [1]}\n"


async def first(service: Service) -> Any:
    return (await recommend(service, 1000))["recommendations"][0]["itemid"]


async def started(store: FolderStore, path: Path) -> Service:
    service = service_of(store, rules=str(path))
    await service.following.start()
    await service.rules.update()
    return service


async def test_a_changed_file_holds_without_a_restart_and_an_invalid_one_is_refused(
    store: FolderStore, tmp_path: Path
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules: []")
    service = await started(store, path)
    best = await first(service)
    path.write_text(WITHOUT.format(name="sold out", item=best))
    await service.rules.update()
    second = await first(service)
    assert second != best
    async with http(service) as client:
        assert (await items(client, "", n=1)) == [second]
        assert (await items(client, "rules_file=false", n=1)) == [best]
    path.write_text(BROKEN)
    await service.rules.update()
    assert await first(service) == second
    report = service.rules.report()
    assert report is not None
    assert report.n_rules == 1
    assert report.problem is not None
    assert report.problem.text.startswith(f"{path}, line 3: rule 'sale': boost: Input should be greater")
    path.unlink()
    await service.rules.update()
    assert await first(service) == second
    path.write_text("rules: []")
    await service.rules.update()
    assert await first(service) == best
    report = service.rules.report()
    assert report is not None
    assert report.problem is None


async def test_health_shows_the_rules(store: FolderStore, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        WITHOUT.format(name="one", item=1) + "- {name: red, boost: 2, where: {attribute: colour, values: [red]}}\n"
    )
    service = await started(store, path)
    async with http(service) as client:
        health = (await client.get("/health")).json()
        assert health["rules"] == {
            "file": str(path),
            "digest": parse_rules(path.read_text()).digest,
            "rules": 2,
            "problem": None,
            "problem_since": None,
            "not_applied": ["line 5: rule 'red': this version has no attribute 'colour'; it has price, brand, tags"],
            "unknown": ["line 2: rule 'one': this version has no item 1"],
        }
        path.write_text(BROKEN)
        await service.rules.update()
        health = (await client.get("/health")).json()
        assert health["status"] == "healthy"
        assert "line 3: rule 'sale'" in health["rules"]["problem"]
        assert health["rules"]["problem_since"]


async def test_the_service_reads_the_file_by_itself_within_two_seconds(store: FolderStore, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules: []")
    assert PAUSE_SECONDS <= 1
    service = service_of(store, rules=str(path))
    async with http(service) as client:
        [best] = await items(client, "", n=1)
        path.write_text(WITHOUT.format(name="sold out", item=best))
        async with asyncio.timeout(30):
            while (await items(client, "", n=1)) == [best]:
                await asyncio.sleep(0.01)


async def test_without_a_valid_file_a_new_replica_uses_the_last_one_or_none_of_its_lists(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "rules.yaml"
    path.write_text(BROKEN)
    service = await started(store, path)
    with pytest.raises(Unavailable, match=r"no rules are loaded: .*line 3"):
        await first(service)
    path.write_text("rules: []")
    best = await first(await started(store, path))
    path.write_text(WITHOUT.format(name="sold out", item=best))
    await started(store, path)
    path.write_text(BROKEN)
    service = await started(store, path)
    assert await first(service) != best
    report = service.rules.report()
    assert report is not None
    assert report.problem is not None


TRAPS = ["", "# later", "rules:", "rules: " + "[" * 200_000, "rules: [{name: a, boost: !!int '', where: {items: [1]}}]"]


@pytest.mark.parametrize("text", [*TRAPS, "rules: [{name: a, boost: 2, where: {items: [!!bool abc]}}]"])
async def test_no_file_ends_the_reading_of_later_files(store: FolderStore, tmp_path: Path, text: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(WITHOUT.format(name="sold out", item=1))
    service = await started(store, path)
    path.write_text(text)
    await service.rules.update()
    report = service.rules.report()
    assert report is not None
    assert report.problem is not None
    assert f"{path}, line 1: " in report.problem.text
    assert report.n_rules == 1
    path.write_text("rules: []")
    await service.rules.update()
    report = service.rules.report()
    assert report is not None
    assert (report.problem, report.n_rules) == (None, 0)


async def test_an_unforeseen_error_of_a_file_is_reported_and_later_files_are_read(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules: []")
    service = await started(store, path)

    def fail(*_: object) -> None:
        raise OverflowError("date value out of range")

    path.write_text(WITHOUT.format(name="sold out", item=1))
    with monkeypatch.context() as patch:
        patch.setattr("recsys.serving.rules.parse_rules", fail)
        await service.rules.update()
    report = service.rules.report()
    assert report is not None
    assert report.problem is not None
    assert report.problem.text == f"{path} cannot be used: OverflowError: date value out of range"
    await service.rules.update()
    report = service.rules.report()
    assert report is not None
    assert (report.problem, report.n_rules) == (None, 1)


async def test_a_fifo_is_no_rules_file(store: FolderStore, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"rules\.yaml cannot be read: it is not a regular file"):
        check_rules_file(str(path))
    async with asyncio.timeout(10):
        service = await started(store, path)
    report = service.rules.report()
    assert report is not None
    assert report.problem is not None
    assert report.problem.text == f"{path} cannot be read: it is not a regular file"


def test_a_service_does_not_start_with_an_invalid_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    with pytest.raises(DataError, match=r"rules\.yaml cannot be read"):
        check_rules_file(str(path))
    path.write_text(BROKEN)
    with pytest.raises(RuleError, match="line 3"):
        check_rules_file(str(path))


# The graph


class Handle:
    """Of a deployment whose replicas live in this process; each call goes to the next one."""

    def __init__(self, *replicas: Any) -> None:
        self.replicas, self.calls = replicas, 0

    def options(self, **_: str) -> "Handle":
        return self

    async def remote(self, *arguments: Any, request_ids: tuple[str, ...]) -> Any:
        self.calls += 1
        return await self.replicas[self.calls % len(self.replicas)](*arguments, request_ids=request_ids)

    def broadcast(self, method: str, *arguments: Any) -> "Broadcast":
        return Broadcast(self.replicas, method, arguments)


class Broadcast:
    def __init__(self, replicas: Any, method: str, arguments: Any) -> None:
        self._replicas, self._method, self._arguments = replicas, method, arguments

    async def results_async(self, timeout_s: float) -> list[Any]:
        return [await getattr(replica, self._method)(*self._arguments) for replica in self._replicas]


async def test_the_graph_answers_as_one_process_does_and_sends_the_file_once(store: FolderStore) -> None:
    settings = ServeSettings(registry=str(store), probe=False)
    candidates = Handle(CandidateReplica(settings))
    servable = open_servable(store.path("v1"))
    recommender = servable.recommender

    async def factors(version: str, histories: Any, **_: Any) -> Any:
        return recommender.fold_in(histories)

    async def rank(version: str, features: Any, for_discovery: Any, **_: Any) -> Any:
        return recommender.rank(features, for_discovery)

    stages = GraphStages(candidates, Handle(factors), Handle(rank))  # type: ignore[arg-type]
    snapshot = servable.bundle.snapshot
    users, n_users = np.arange(12), 12
    histories, codes = snapshot.take(users), np.zeros(n_users, np.int8)
    requests = [
        RequestRules.model_validate(one) for one in ({}, {"only": [{"categories": [1]}]}, {"diversity": 0.3})
    ] * 4
    ids = [snapshot.users[row] for row in users.tolist()]

    async def same(file: Any) -> int:
        rules = BatchRules.build(requests, [5] * n_users, ids, file, END + DAY)
        options = BatchOptions(5, codes, rules=rules)
        before = candidates.calls
        answer = await stages(servable, histories, END, options)
        expected = recommender(histories, END, 5, codes, rules=rules)
        assert answer is not None
        for name in ("items", "scores", "offsets"):
            np.testing.assert_array_equal(getattr(answer, name), getattr(expected, name))
        return candidates.calls - before

    assert await same(None) == 1
    files = [parse_rules(WITHOUT.format(name=f"r{n}", item=500 + 3 * n)) for n in range(2)]
    assert [await same(files[0]) for _ in range(3)] == [2, 1, 1]  # the replica lacks it once
    candidates.replicas = (*candidates.replicas, CandidateReplica(settings))
    await stages.load_rules(files[1])
    assert [await same(files[1]) for _ in range(4)] == [1, 1, 1, 1]
