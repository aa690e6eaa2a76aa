"""Sentences of explanations: every template of every language, and a shop's own."""

import itertools
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import ConfigError
from recsys.inference.sentences import FOLDER, Sentences, load_sentences
from recsys.retrieval.sources.registry import SOURCES
from recsys.schema import EVENT_TYPES, UNKNOWN
from recsys.sessions.settings import SOURCES as SESSION_SOURCES
from tests.support.soak import SOAK, scaled

BUILT_IN = load_sentences()
EVENTS = (UNKNOWN, *range(len(EVENT_TYPES)))


def entries(tree: object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """The texts of a file by their place."""
    if not isinstance(tree, dict):
        return {path: str(tree)}
    return {place: text for name, inner in tree.items() for place, text in entries(inner, (*path, name)).items()}


def own_file(folder: Path, text: str) -> Path:
    path = folder / "sentences.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_there_are_english_and_german() -> None:
    assert BUILT_IN.languages == ("de", "en")
    assert BUILT_IN.default == "en"


def test_every_template_is_translated() -> None:
    by_language = {path.stem: entries(yaml.safe_load(path.read_text("utf-8"))) for path in FOLDER.glob("*.yaml")}
    english = by_language.pop("en")
    assert by_language
    for language, texts in by_language.items():
        assert texts.keys() == english.keys(), language
        assert not [place for place in english if texts[place] == english[place]], language


@settings(max_examples=scaled(300, 10_000), derandomize=not SOAK, database=None, deadline=None)
@given(
    language=st.sampled_from(BUILT_IN.languages),
    source=st.one_of(st.sampled_from([*SOURCES.names, *SESSION_SOURCES]), st.just("rare")),
    event=st.sampled_from(EVENTS),
    item=st.text(),
    position=st.sampled_from([UNKNOWN, 1, 37]),
)
def test_no_sentence_has_an_unfilled_placeholder(
    language: str, source: str, event: int, item: str, position: int
) -> None:
    """Whatever braces a title has: it is not a template."""
    templates = BUILT_IN.templates[language]
    sentence = templates.sentence(source, event, item, position)
    marked = templates.sentence(source, event, "\x00", position)
    assert sentence == marked.replace("\x00", item)
    assert "{" not in marked
    assert "}" not in marked
    assert len(marked) > 10


@pytest.mark.parametrize("language", BUILT_IN.languages)
def test_every_source_and_event_has_a_sentence_of_its_own(language: str) -> None:
    templates = BUILT_IN.templates[language]
    pairs = itertools.product(templates.following, range(len(EVENT_TYPES)))
    sentences = [templates.sentence(source, event, "tea", UNKNOWN) for source, event in pairs]
    sentences += [templates.sentence(source, UNKNOWN, "", UNKNOWN) for source in templates.alone]
    assert len(set(sentences)) == len(sentences)
    others = templates.following.keys() - {"own", "session"}
    assert all("tea" in templates.sentence(source, 2, "tea", UNKNOWN) for source in others)
    assert "37" in templates.sentence("recent", UNKNOWN, "", 37)


def test_a_source_without_templates_has_those_of_other() -> None:
    english = BUILT_IN.templates["en"]
    assert english.sentence("rare", 2, "Tea", UNKNOWN) == "Because you bought “Tea”."
    assert english.sentence("rare", UNKNOWN, "", UNKNOWN) == "This may be of interest to you."


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("DE", "de"),
        ("de-AT", "de"),
        ("fr, de;q=0.5", "de"),
        ("en;q=0.4, de;q=0.8", "de"),
        ("en, de", "en"),
        ("de;q=0, en;q=0.1", "en"),
        ("de;q=0", "en"),
        ("*", "en"),
        ("de;q=high, ;;, fr", "en"),
        ("\x00, de", "de"),
    ],
)
def test_the_language_that_a_browser_prefers(header: str, language: str) -> None:
    assert BUILT_IN.accepted(header) == language


def test_a_region_that_there_is_comes_before_its_language() -> None:
    templates = BUILT_IN.templates | {"de-AT": BUILT_IN.templates["de"]}
    assert Sentences(templates).accepted("de-at") == "de-AT"


def test_a_shop_changes_some_and_adds_a_language(tmp_path: Path) -> None:
    dutch = (FOLDER / "en.yaml").read_text(encoding="utf-8").replace("\n", "\n  ")
    text = "en:\n  alone:\n    rare: A rare find.\n    popular: Loved by all.\nno:\n  " + dutch
    own = load_sentences(own_file(tmp_path, text), "no")
    assert own.languages == ("de", "en", "no")
    assert own.default == "no"
    english, before = own.templates["en"], BUILT_IN.templates["en"]
    assert english.sentence("rare", UNKNOWN, "", UNKNOWN) == "A rare find."
    assert english.sentence("popular", UNKNOWN, "", UNKNOWN) == "Loved by all."
    assert english.sentence("recent", UNKNOWN, "", UNKNOWN) == before.sentence("recent", UNKNOWN, "", UNKNOWN)
    assert own.templates["de"] == BUILT_IN.templates["de"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("en: {position: 'Number {place}.'}", r"en\.position: .*\{place\}; expected \{position\}"),
        ("en: {alone: {recent: 'As {item}.'}}", r"en\.alone: .*\{item\}; expected no placeholder"),
        ("en: {following: {own: {view: 'You saw {item.'}}}", r"en\.following\.own\.view: .*whole placeholders"),
        ("en: {following: {own: {view: ' '}}}", r"en\.following\.own\.view: .*expected a sentence"),
        ("en: {following: {own: {seen: 'x'}}}", r"en\.following\.own\.seen: "),
        ("fr: {position: 'Numéro {position}.'}", r"fr\.following: Field required"),
        ("english: {position: x}", "'english' is not the tag of a language"),
        ("en: x", "en: "),
        ("- en", "expected templates by name, got list"),
        ("en: {", "sentences.yaml: "),
    ],
)
def test_a_wrong_file_is_named_with_its_entry(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"(?s)sentences\.yaml.*{problem}" if "sentences" not in problem else problem
    ):
        load_sentences(own_file(tmp_path, text))


def test_a_missing_file_and_a_language_without_templates_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: "):
        load_sentences(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="'fr' has no templates; expected one of: de, en"):
        load_sentences(None, "fr")
