"""The rules file: what it may say, and the line of each fault."""

import pytest

from recsys.errors import RuleError
from recsys.rules.document import MOST_BYTES, MOST_NODES
from recsys.rules.file import Rule
from recsys.rules.parse import parse_request, parse_rules
from recsys.rules.request import Target
from recsys.schema import LATEST

FILE = """\
# the shop's rules
rules:
  - name: no weapons
    filter: without
    where: {categories: [12, "a"]}

  - name: summer
    boost: 2
    where:
      attribute: brand
      values: [Acme, 7, 007]
    from: 2026-06-01
    until: 2026-06-30T12:00:00+02:00
    fraction: 0.5
  - {name: variety, cap: 2, per: category}
  - {name: budget, filter: only, where: {attribute: price, between: [10, null]}}
"""


def test_a_file_becomes_rules_with_their_lines() -> None:
    file = parse_rules(FILE)
    assert file.lines == (3, 7, 15, 16)
    assert [rule.name for rule in file.rules] == ["no weapons", "summer", "variety", "budget"]
    assert file.rules[0].where == Target(categories=(12, "a"))
    summer = file.rules[1]
    assert (summer.start, summer.until) == (1_780_272_000_000, 1_782_813_600_000)
    assert summer.where is not None
    assert file.rules[3].where == Target(attribute="price", between=(10, None))
    assert file.spans.tolist()[2] == [0, LATEST + 1]
    assert parse_rules(FILE).digest == file.digest != parse_rules(FILE + " ").digest


def test_a_file_may_have_no_rules() -> None:
    assert parse_rules("rules: []").rules == ()


def items(text: str) -> object:
    """The ids of a rule whose items are written so."""
    [rule] = parse_rules(f"rules: [{{name: a, boost: 2, where: {{items: [{text}]}}}}]").rules
    return rule.where.items if rule.where else None


def test_ids_are_as_they_are_written() -> None:
    texts = ["0123", "0017", "12:30", "1_000", "0x10", "0o17", "+5", "-0", "1e5", "NO", "on", "2026-06-30", "9" * 5000]
    assert items(", ".join(texts)) == tuple(texts)
    assert items("0, 17, -3, '17', \"true\"") == (0, 17, -3, "17", "true")
    assert items("&a 5, *a") == (5, 5)


def test_numbers_and_null_are_as_yaml_1_2_has_them() -> None:
    for text, between in {"1.5, ~": (1.5, None), "null, -.5e1": (None, -5.0), "-2, 10.": (-2, 10.0)}.items():
        [rule] = parse_rules(f"rules: [{{name: a, cap: 1, where: {{attribute: p, between: [{text}]}}}}]").rules
        assert rule.where == Target(attribute="p", between=between)
    assert parse_request(b"{exclude_seen: true, exclude_purchased: False}", "f").exclude_seen


def test_the_last_day_is_a_legal_end() -> None:
    [rule] = parse_rules("rules: [{name: a, diversity: 0.1, from: 2026-06-30, until: 9999-12-31}]").rules
    assert (rule.start, rule.until) == (1_782_777_600_000, LATEST + 1)


def test_a_large_file_of_ten_thousand_rules_fits() -> None:
    where = f"{{items: [{', '.join(map(str, range(25)))}]}}"
    text = "rules:\n" + "".join(f"- {{name: r{k}, filter: without, where: {where}}}\n" for k in range(10_000))
    assert len(parse_rules(text).rules) == 10_000


FAULTS = [
    (
        "rules:\n- name: x\n  filter: only\n  where:\n    categories: [1.5]",
        "shop.yaml, line 5: rule 'x': where.categories.0: expected an id, a whole number or a text, found 1.5",
    ),
    ("rules:\n- name: x\n  boost: 0.5\n  where: {items: [1]}\n", "line 3: rule 'x': boost: Input should be greater"),
    ("rules:\n- name: x\n  bost: 2\n", "line 3: rule 'x': bost: there is no such key"),
    ("rules:\n- boost: 2\n  where: {items: [1]}\n", "line 2: rule 1: name: Field required"),
    ("rules:\n- name: x\n  where: {items: [1]}\n", "line 2: rule 'x': expected one action of filter, boost"),
    ("rules:\n- {name: x, boost: 2, bury: 2, where: {items: [1]}}", "found boost and bury"),
    ("rules:\n- {name: x, boost: 2}", "line 2: rule 'x': boost: expected where"),
    ("rules:\n- {name: x, cap: 2}", "cap: expected either per or where"),
    ("rules:\n- {name: x, boost: 2, per: brand, where: {items: [1]}}", "per belongs to cap"),
    ("rules:\n- {name: x, diversity: 0.2, where: {items: [1]}}", "diversity has no where"),
    ("rules:\n- {name: x, pin: 1, where: {categories: [1]}}", "pin: expected items in where"),
    (
        "rules:\n- name: x\n  filter: never\n  where: {items: [1]}",
        "line 3: rule 'x': filter: Input should be 'only' or",
    ),
    ("rules:\n- name: x\n  filter: only\n  where: {}", "line 4: rule 'x': where: expected one of items, categories"),
    (
        "rules:\n- name: x\n  filter: only\n  where: {items: [1], categories: [1]}",
        "line 4: rule 'x': where: expected one of items, categories and attribute, found items and categories",
    ),
    (
        "rules:\n- name: x\n  filter: only\n  where:\n    items:\n    - true\n",
        "line 5: rule 'x': where.items: true and",
    ),
    ("rules:\n- name: x\n  filter: only\n  where: {attribute: p, between: [3, 1]}", "the lower bound 3 is above"),
    ("rules:\n- name: x\n  filter: only\n  where: {attribute: p}", "attribute p: expected either values or between"),
    ("rules:\n- name: x\n  filter: only\n  where: {items: []}", "line 4: rule 'x': where.items: "),
    (
        "rules:\n- {name: x, diversity: 0.1}\n- {name: x, diversity: 0.2}",
        "line 3: the name 'x' is taken by the rule of",
    ),
    ("rules:\n- {name: x, diversity: 0.1, from: 2026-13-01}", "from: expected a date or time as 2026-06-30"),
    ("rules:\n- {name: x, diversity: 0.1, from: 2026-02-01, until: 2026-01-01}", "from is not before until"),
    ("rules:\n- {name: x, diversity: 0.1, fraction: 0}", "fraction: Input should be greater than 0"),
    ("rules:\n- {name: x, diversity: .nan}", "diversity: "),
    ("rules:\n- name: a\n  name: b\n", "line 3: the key name is given twice"),
    ("rules:\n- &a {name: x, diversity: 0.1}\n- *a\n", "line 2: an alias uses this part again"),
    ("rules: [", "not YAML"),
    ("rules:\n  - name: x\n bad", "line 3: not YAML"),
    ("rule: []", "line 1: expected one key, rules, with a list of rules"),
    ("rules: 5", "line 1: rules: expected a list"),
    ("rules:\n- 5", "line 2: rule 1: "),
    ("rules:\n- !!python/object:os.system x", "line 2: expected a value without a tag, found the tag tag:yaml"),
    (b"\xff", "not YAML"),
    (b"#" * (MOST_BYTES + 1), "expected at most"),
    ("[" * 5000, "line 1: nested too deeply, expected at most 32 levels"),
    ("rules:\n- " + "[" * 200_000, "line 2: nested too deeply"),
    ("rules:\n- " + "{a: " * 200_000, "line 2: nested too deeply"),
    ("? " * 200_000, "line 1: expected a word as a key"),
    ("", "line 1: expected one key, rules, with a list of rules; `rules: []` for none"),
    ("# nothing", "line 1: expected one key, rules, with a list of rules; `rules: []` for none"),
    ("rules:", "line 1: rules: expected a list; `rules: []` for none"),
    ("rules: []\n---\nrules: []", "line 2: not YAML of a rules file: another document begins"),
    ("rules:\n- *a", "line 2: not YAML: found undefined alias a"),
    ("rules:\n- {name: a, boost: !!int '', where: {items: [1]}}", "line 2: expected a value without a tag"),
    ("rules:\n- {name: a, boost: 2, where: {items: [!!bool abc]}}", "line 2: expected a value without a tag"),
    ("rules:\n- !x {name: a}", "line 2: expected a value without a tag, found the tag !x"),
    (f"rules:\n- {{name: a, boost: 0x1{'0' * 4000}, where: {{items: [1]}}}}", "line 2: rule 'a': boost: "),
    (f"rules:\n- {{name: a, boost: {'1:' * 1000}1.5, where: {{items: [1]}}}}", "line 2: rule 'a': boost: "),
    (f"rules:\n- {{name: a, boost: 1{'0' * 4000}, where: {{items: [1]}}}}", "line 2: rule 'a': boost: "),
    (f"rules:\n- {{name: a, pin: 1{'0' * 299}, where: {{items: [1]}}}}", "line 2: rule 'a': pin: "),
    (f"rules:\n- {{name: a, boost: 2, where: {{items: [{'[],' * MOST_NODES}]}}}}", "line 2: more than 400,000 values"),
    ("rules:\n" + "- {}\n" * MOST_NODES, "line 399999: more than 400,000 values"),
]


@pytest.mark.parametrize(("text", "fault"), FAULTS, ids=map(str, range(len(FAULTS))))
def test_a_fault_is_named_with_its_line(text: str | bytes, fault: str) -> None:
    with pytest.raises(RuleError) as error:
        parse_rules(text, "shop.yaml")
    assert str(error.value).startswith("shop.yaml")
    assert fault in str(error.value)
    assert "\n" not in str(error.value)


def test_every_fault_of_a_file_is_named() -> None:
    text = "rules:\n" + "".join(f"- {{name: r{n}, boost: 0.1, where: {{items: [1]}}}}\n" for n in range(15))
    with pytest.raises(RuleError) as error:
        parse_rules(text)
    assert all(f"line {line}: rule" in str(error.value) for line in range(2, 12))
    assert str(error.value).endswith("; and 5 more")


def test_many_empty_lists_are_refused_in_a_moment() -> None:
    """Every fault was compared with every other one: minutes."""
    with pytest.raises(RuleError, match=r"line 1: only\.0\.items: .*; and 99,990 more$"):
        parse_request(b"only: [" + b"{items: []}," * 100_000 + b"]", "filters.yaml")


def test_filters_of_a_request_may_stand_in_a_file() -> None:
    request = parse_request(b"exclude_seen: true\nonly:\n- {categories: [3]}\n", "filters.yaml")
    assert request.exclude_seen
    assert request.only == (Target(categories=(3,)),)
    with pytest.raises(RuleError, match=r"^filters.yaml, line 3: only.0: expected one of items, categories and"):
        parse_request(b"exclude_seen: true\nonly:\n- {}\n", "filters.yaml")


def test_names_differ_from_the_word_of_python() -> None:
    assert Rule.model_validate({"name": "x", "diversity": 0.1, "from": "2026-01-01"}).start == 1_767_225_600_000
