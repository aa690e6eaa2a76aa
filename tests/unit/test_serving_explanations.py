"""`explain=true` over HTTP: reasons in words, sums that add up, and languages."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx import AsyncClient

from recsys.inference.recommender import Recommender
from recsys.inference.sentences import load_sentences
from recsys.registry.bundle import Bundle
from recsys.registry.folder import FolderStore
from recsys.schema import UNKNOWN
from recsys.serving.api.explanations import explanation_messages
from recsys.serving.settings import ServeSettings
from tests.support.bundles import attributed_bundle, publish, small_bundle, with_sessions
from tests.support.services import http, service_of

pytestmark = pytest.mark.anyio

NOBODY = -5


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return attributed_bundle()


async def items_for(client: AsyncClient, user: Any, query: str = "", **headers: str) -> list[dict[str, Any]]:
    path = f"/recommend/{user}?n=20&cold_start=true&explain=true{query}"
    response = await client.get(path, headers=headers)
    assert response.status_code == 200
    return response.json()["recommendations"]


async def test_the_parts_add_up_to_the_raw_score_and_so_to_the_answer(client: AsyncClient, bundle: Bundle) -> None:
    calibration = bundle.manifest.blend.lgb
    for user in bundle.snapshot.users.values.to_pylist()[:30]:
        for item in await items_for(client, user):
            why = item["explanation"]
            parts = [part["contribution"] for part in why["features"]]
            assert why["bias"] + why["other_features"] + sum(parts) == pytest.approx(why["raw_score"], abs=1e-6)
            expected = 1 / (1 + np.exp(-(calibration.slope * why["raw_score"] + calibration.intercept)))
            assert item["lgb_score"] == pytest.approx(expected, abs=1e-9)
            assert 0 < len(parts) <= 3
            assert [abs(part) for part in parts] == sorted((abs(part) for part in parts), reverse=True)
            assert why["position"] is None


async def test_the_followed_item_is_in_the_history_and_its_title_in_the_sentence(
    client: AsyncClient, bundle: Bundle
) -> None:
    titles = dict(zip(bundle.items.values.to_pylist(), bundle.texts["title"].to_pylist(), strict=True))
    named = 0
    for row, user in enumerate(bundle.snapshot.users.values.to_pylist()[:30]):
        history = bundle.items.to_list(bundle.snapshot.histories.take(np.array([row])).items)
        for item in await items_for(client, user):
            followed = item["explanation"]["because_of"]
            assert followed is None or followed in history
            if followed not in (None, item["itemid"]):
                named += 1
                assert f"“{titles[followed] or followed}”" in item["explanation"]["sentence"]
    assert named > 30


async def test_a_user_without_events_is_told_the_position(client: AsyncClient) -> None:
    items = await items_for(client, NOBODY)
    assert [item["explanation"]["position"] for item in items] == sorted(
        item["explanation"]["position"] for item in items
    )
    first = items[0]["explanation"]
    assert first == {
        "sentence": "Number 1 of what our customers like most.",
        "because_of": None,
        "position": 1,
        "features": [],
        "other_features": None,
        "bias": None,
        "raw_score": None,
    }


def test_the_value_of_a_category_is_its_id(bundle: Bundle) -> None:
    recommender, names = Recommender.from_bundle(bundle), bundle.manifest.features
    histories, now = bundle.snapshot.take(np.array([3])), bundle.manifest.live_watermark
    explanations = recommender(histories, now, 10, explained=np.array([10])).explanations
    assert explanations is not None
    columns = [names.index("item_category"), names.index("item_root"), UNKNOWN]
    taken = replace(
        explanations,
        features=np.tile(columns, (10, 1)),
        values=np.tile([[0.0, np.nan, 0.0]], (10, 1)),
        contributions=np.tile([[0.5, -0.25, 0.0]], (10, 1)),
    )
    templates = load_sentences().templates["en"]
    first = bundle.categories[0]
    for why in explanation_messages(taken, 0, 10, bundle, templates):
        category, root = why["features"]
        assert (category["name"], category["value"], category["contribution"]) == ("item_category", first, 0.5)
        assert category["meaning"] == "the item's category"
        assert (root["name"], root["value"]) == ("item_root", None)


async def test_without_explain_nothing_is_explained(client: AsyncClient, bundle: Bundle) -> None:
    response = await client.get(f"/recommend/{bundle.snapshot.users[0]}?language=de")
    assert "content-language" not in response.headers
    assert not {"explanation", "sources", "category"} & response.json()["recommendations"][0].keys()


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [
        ("", None, "en"),
        ("", "de-CH, en;q=0.5", "de"),
        ("", "fr", "en"),
        ("&language=de", None, "de"),
        ("&language=en", "de", "en"),
        ("&language=de-AT", "en", "de"),
        ("&language=fr", "de", "de"),
        ("&language=fr", None, "en"),
    ],
)
async def test_the_language_of_the_sentences(
    client: AsyncClient, query: str, header: str | None, language: str
) -> None:
    headers = {} if header is None else {"Accept-Language": header}
    response = await client.get(f"/recommend/{NOBODY}?n=1&cold_start=true&explain=true{query}", headers=headers)
    assert response.headers["content-language"] == language
    assert response.headers["vary"] == "Accept-Language"
    [item] = response.json()["recommendations"]
    assert item["explanation"]["sentence"].startswith({"en": "Number 1 of", "de": "Nummer 1 der"}[language])


@pytest.mark.parametrize("language", ["", "d", "german", "de_AT", "de,en", "de-", "en-" + "x" * 500])
async def test_what_can_be_no_language_is_400(client: AsyncClient, language: str) -> None:
    response = await client.get(f"/recommend/{NOBODY}?cold_start=true&explain=true&language={language}")
    assert response.status_code == 400
    problem = "language: expected the tag of a language such as de or pt-BR"
    assert response.json() == {"detail": f"{problem}, found {language[:80]!r}"}


async def test_the_documentation_describes_the_fields(client: AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    fields = document["components"]["schemas"]["Explanation"]
    assert all(field["description"] for field in fields["properties"].values())
    assert "rules" not in fields["required"]


async def test_a_shop_has_sentences_of_its_own(store: FolderStore, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("de: {position: 'Platz {position}!'}", encoding="utf-8")
    async with http(service_of(store, sentences=str(own), language="de")) as client:
        [first, *_] = await items_for(client, NOBODY)
        assert first["explanation"]["sentence"] == "Platz 1!"


def test_wrong_sentences_are_an_error_of_the_settings(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("de: {position: 'Platz {place}!'}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"own\.yaml: de\.position: .*\{place\}; expected \{position\}"):
        ServeSettings(sentences=own)
    with pytest.raises(ValueError, match="language 'fr' has no templates"):
        ServeSettings(language="fr")


async def test_versions_without_titles_name_ids(tmp_path: Path, bundle: Bundle) -> None:
    store = FolderStore(tmp_path)
    publish(store, replace(bundle, texts={}), "v1")
    users = bundle.snapshot.users.values.to_pylist()[:5]
    async with http(service_of(store)) as client:
        items = [item for user in users for item in await items_for(client, user)]
    pairs = [(item["explanation"], item["itemid"]) for item in items]
    followed = [why for why, item in pairs if why["because_of"] not in (None, item)]
    assert followed
    assert all(f"“{why['because_of']}”" in why["sentence"] for why in followed)


async def test_a_session_is_explained_in_the_language_of_its_body(tmp_path: Path) -> None:
    store, bundle = FolderStore(tmp_path), with_sessions(small_bundle())
    publish(store, bundle, "v1")
    first, second = (bundle.items[code] for code in (3, 4))
    body = {"events": [{"itemid": first}, {"itemid": second, "event": "addtocart"}], "n": 10, "explain": True}
    async with http(service_of(store)) as client:
        response = await client.post("/recommend", json=body | {"language": "de"}, headers={"Accept-Language": "en"})
        assert response.headers["content-language"] == "de"
        listed = [item["explanation"] for item in response.json()["recommendations"]]
        plain = await client.post("/recommend", json=body | {"explain": False})
        bad = await client.post("/recommend", json=body | {"language": "german"})
    assert {why["because_of"] for why in listed} <= {first, second, None}
    assert any("Warenkorb" in why["sentence"] for why in listed)
    for why in listed:
        parts = sum(part["contribution"] for part in why["features"])
        assert why["bias"] + why["other_features"] + parts == pytest.approx(why["raw_score"], abs=1e-6)
    assert "explanation" not in plain.json()["recommendations"][0]
    assert bad.status_code == 400
    assert "language: expected the tag of a language such as de or pt-BR" in bad.json()["detail"]
