"""Documents of keys, how they are followed, limits, and addresses behind a load balancer."""

import hashlib
import json
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recsys.cli import commands
from recsys.errors import ConfigError
from recsys.serving.access.access import Access
from recsys.serving.access.addresses import OTHERS, ClientAddresses
from recsys.serving.access.document import MOST_KEYS, parse_keys
from recsys.serving.access.environment import ENVIRONMENT, address_from_environment
from recsys.serving.access.keys import LONGEST_KEY, FollowedKeys
from recsys.serving.access.limits import SLOTS, RequestLimits, parse_limit
from recsys.serving.settings import ServeSettings
from tests.support.keys import READ_KEY, entry, keys_document, keys_file

pytestmark = pytest.mark.anyio


# Documents


def test_a_document_has_names_scopes_limits_and_ends() -> None:
    content = b"""
keys:
- name: storefront
  sha256: 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
  scopes: [read]
  limit: 100/second
  expires: 2027-01-31
- {"name": "operator", "scopes": ["admin"],
   "sha256": "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"}
"""
    first, second = parse_keys(content, "keys")
    assert (first.name, first.scopes) == ("storefront", {"read"})
    assert first.digest == hashlib.sha256(b"hello").digest()
    assert first.limit == parse_limit("100/second")
    assert first.until == datetime(2027, 2, 1, tzinfo=UTC).timestamp() * 1000
    assert (second.name, second.scopes, second.limit, second.until) == ("operator", {"admin"}, None, None)


SECRET = "rk_iAmTheKeyItself-not-its-hash"  # pragma: allowlist secret
GOOD = entry(READ_KEY)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "expected one key, `keys`"),
        (SECRET.encode(), "expected one key, `keys`"),
        (f"{SECRET}: 1\n{SECRET}: 2".encode(), "line 2: not YAML or JSON"),
        (f"keys: *{SECRET}".encode(), "line 1: not YAML or JSON"),
        (b"\xff", "not YAML or JSON"),
        (b"keys: {}", "expected one key, `keys`"),
        (b"keys: []", "0 keys; expected 1 to 100"),
        (keys_document(*[entry(str(n)) for n in range(MOST_KEYS + 1)]), "101 keys; expected 1 to 100"),
        (keys_document(GOOD, entry(READ_KEY, "other")), "key 2: sha256: an entry before it has the same"),
        (keys_document(GOOD | {"sha256": SECRET}), "key 1: sha256: expected the SHA-256 of the key"),
        (keys_document(GOOD | {"sha256": GOOD["sha256"].upper()}), "key 1: sha256: expected the SHA-256"),
        (keys_document(GOOD | {"name": f"a {SECRET}"}), "key 1: name: expected up to 64 letters"),
        (keys_document(GOOD | {"scopes": []}), "key 1: scopes: expected at least one of: read, admin"),
        (keys_document(GOOD | {"scopes": [SECRET]}), "key 1: scopes: "),
        (keys_document(GOOD | {"limit": SECRET}), "key 1: limit: expected one limit, a number of requests and a time"),
        (keys_document(GOOD | {"limit": "0/second"}), "key 1: limit: expected"),
        (keys_document(GOOD | {"limit": "100/second;10/hour"}), "key 1: limit: expected one limit"),
        (keys_document(GOOD | {"limit": "5/0 seconds"}), "key 1: limit: expected"),
        (keys_document(GOOD | {"limit": "5/year"}), "key 1: limit: expected"),
        (keys_document(GOOD | {"limit": "5/second"}, entry("another key")), "key 2: limit: an entry of the same name"),
        (keys_document(GOOD | {"expires": SECRET}), "key 1: expires: "),
        (keys_document(GOOD | {SECRET: 1}), "key 1: there is an unknown field; expected: name, sha256"),
        (keys_document({"name": "a", "scopes": ["read"]}), "key 1: sha256: Field required"),
        (json.dumps({"keys": [SECRET]}).encode(), "key 1: entry: "),
    ],
)
def test_a_fault_is_named_and_no_message_has_a_key(content: bytes, fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_keys(content, "keys")
    assert fault in str(error.value)
    assert SECRET not in str(error.value)
    assert error.value.__cause__ is None  # which a log would print, with the value


def test_no_text_of_a_key_has_its_hash() -> None:
    [key] = parse_keys(keys_document(GOOD), "keys")
    assert str(key.digest) not in repr(key)


# Keys


def test_keys_are_found_by_their_hash(tmp_path: Path) -> None:
    keys = FollowedKeys(str(keys_file(tmp_path)))
    found = keys.find(READ_KEY.encode())
    assert found is not None
    assert found.name == "shop"
    for other in (b"", b"x", READ_KEY[:-1].encode(), f"{READ_KEY} ".encode(), GOOD["sha256"].encode(), b"\xff" * 50):
        assert keys.find(other) is None


def test_a_long_key_is_no_key(tmp_path: Path) -> None:
    keys = FollowedKeys(str(keys_file(tmp_path, entry("k" * LONGEST_KEY), entry("k" * (LONGEST_KEY + 1)))))
    assert keys.find(b"k" * LONGEST_KEY) is not None
    assert keys.find(b"k" * (LONGEST_KEY + 1)) is None


def test_a_key_is_valid_up_to_the_end_of_its_last_day(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    days = {"yesterday": today - timedelta(days=1), "tomorrow": today + timedelta(days=1), "never": "9999-12-31"}
    keys = FollowedKeys(str(keys_file(tmp_path, *[entry(key, expires=str(day)) for key, day in days.items()])))
    assert [keys.find(key.encode()) is not None for key in days] == [False, True, True]
    assert keys.report().n_valid == 2


async def test_a_changed_file_is_used_and_a_bad_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = keys_file(tmp_path, entry("old"))
    keys = FollowedKeys(str(path))
    keys_file(tmp_path, entry("old"), entry("new"))
    await keys.update()
    assert keys.find(b"old")
    assert keys.find(b"new")
    for content in (b"", b"keys: [", keys_document(GOOD | {"sha256": SECRET})):
        path.write_bytes(content)
        await keys.update()
        assert keys.find(b"old")
        problem = keys.report().problem
        assert problem is not None
        assert str(path) in problem.text
        assert abs(problem.since - time.time() * 1000) < 60_000
    path.unlink()
    await keys.update()
    assert "cannot be read: No such file" in str(keys.report().problem)
    assert keys.find(b"old")
    keys_file(tmp_path, entry("new"))
    await keys.update()
    assert keys.report().problem is None
    assert keys.find(b"old") is None
    assert keys.find(b"new")
    assert SECRET not in caplog.text


def test_a_service_without_its_keys_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (str(tmp_path / "absent"), str(tmp_path), ENVIRONMENT):
        with pytest.raises(ConfigError):
            Access.build(ServeSettings(keys=address))
    monkeypatch.setenv("API_KEYS", " ")
    with pytest.raises(ConfigError, match="not set in the environment of this process"):
        FollowedKeys(ENVIRONMENT)


# The environment


def test_the_environment_has_the_keys_or_their_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert address_from_environment() is None
    assert ServeSettings().keys is None
    monkeypatch.setenv("API_KEYS", keys_document().decode())
    settings = ServeSettings()
    assert settings.keys == ENVIRONMENT
    assert GOOD["sha256"] not in settings.model_dump_json() + repr(settings)
    access = Access.build(settings)
    assert access.keys is not None
    assert access.keys.find(READ_KEY.encode())
    for address in (str(keys_file(tmp_path)), "s3://bucket/keys.yaml"):
        monkeypatch.setenv("API_KEYS", address)
        assert ServeSettings().keys == address
    monkeypatch.delenv("API_KEYS")
    monkeypatch.setenv("API_KEYS_FILE", "keys.yaml")
    assert ServeSettings().keys == "keys.yaml"
    monkeypatch.setenv("API_KEYS", "x")
    with pytest.raises(ConfigError, match="API_KEYS_FILE and API_KEYS are both set"):
        ServeSettings()


@pytest.mark.parametrize("name", ["API_KEYS", "API_KEYS_FILE"])
def test_a_variable_that_is_set_but_empty_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As from a secret that is not there."""
    for text in ("", " \n"):
        monkeypatch.setenv(name, text)
        with pytest.raises(ConfigError, match=f"{name} is set but empty"):
            ServeSettings()


def test_keys_of_a_replicas_own_environment_hold_where_the_settings_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`serve run` may make the settings on a machine without the secret."""
    settings = ServeSettings()
    monkeypatch.setenv("API_KEYS", keys_document().decode())
    assert Access.build(settings).keys is not None


# Limits


def test_a_key_may_ask_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limits = RequestLimits(parse_limit("2/minute"), None)
    assert [limits.wait_for_key("a", None) for _ in range(3)] == [0, 0, 60]
    assert limits.wait_for_key("b", None) == 0
    assert [limits.wait_for_key("c", parse_limit("3/second")) for _ in range(4)] == [0, 0, 0, 1]
    now += 59.5
    assert limits.wait_for_key("a", None) == 1
    now += 0.5
    assert limits.wait_for_key("a", None) == 0


def test_a_clock_that_is_set_back_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, now = RequestLimits(parse_limit("1/minute"), None), time.time()
    assert [limits.wait_for_key("a", None) for _ in range(2)] == [0, 60]
    monkeypatch.setattr(time, "time", lambda: now - 86_400)
    assert limits.wait_for_key("a", None) <= 60


def test_addresses_take_bounded_memory() -> None:
    limits = RequestLimits(None, parse_limit("1/hour"))
    for number in range(2 * SLOTS):
        limits.wait_for_address(str(number))
    assert len(limits.counters) <= SLOTS
    assert len({RequestLimits(None, parse_limit("1/hour")).wait_for_address("10.0.0.1") for _ in range(3)}) == 1
    assert limits.wait_for_address("1") > 3000


# Addresses

PROXIES = ("10.0.0.0/16", "fd00::/8", "192.0.2.1")


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9, 10.0.3.4"], "203.0.113.9"),
        (["1.1.1.1,203.0.113.9", "10.0.3.4", "192.0.2.1"], "203.0.113.9"),
        (["10.0.0.1, 203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        (["[2001:db8:1:2::9]:80, fd00::1"], "2001:db8:1:2::/64"),
        (["10.0.0.1"], None),
        (["10.1.0.1"], "10.1.0.1"),
        ([], OTHERS),
        (["203.0.113.9, garbage"], OTHERS),
        ([""], OTHERS),
        (["9" * 10_000], OTHERS),
        (["fe80::1%eth0"], "fe80::/64"),
    ],
)
def test_the_last_address_that_is_no_proxys_is_the_clients(forwarded: list[str], client: str | None) -> None:
    addresses = ClientAddresses([ip_network(text) for text in PROXIES])
    assert addresses.client(forwarded) == client
    assert addresses.client(forwarded) == client


# Settings and commands


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key_limit", "many"),
        ("key_limit", ""),
        ("address_limit", "5/minute"),
        ("keys", ""),
        ("rules", " "),
        ("trusted_proxies", "10.0.0.1/8"),
        ("trusted_proxies", "balancer"),
        *(
            ("cors_origins", value)
            for value in ("*", "https://*.shop.example", "https://shop.example/", "null", "shop")
        ),
    ],
)
def test_a_bad_setting_of_access_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        ServeSettings.model_validate({name: value})


def test_a_limit_of_keys_needs_keys() -> None:
    with pytest.raises(ConfigError, match="key_limit needs keys"):
        Access.build(ServeSettings(key_limit="1/minute"))


def test_keys_that_are_over_are_named(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_bytes(keys_document(entry("a", "old", expires="2020-01-01"), entry("b", "new")))
    run = CliRunner().invoke(commands, ["keys", "check", str(path)])
    assert (run.exit_code, run.stdout) == (0, "valid keys: 1; expired: old\n")
    path.write_bytes(keys_document(entry("a", "old", expires="2020-01-01")))
    assert isinstance(CliRunner().invoke(commands, ["keys", "check", str(path)]).exception, ConfigError)


def test_lists_are_written_with_commas() -> None:
    settings = ServeSettings.model_validate(
        {"cors_origins": "https://a.example, http://localhost:3000", "trusted_proxies": "10.0.0.0/8,::1"}
    )
    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")


def test_a_new_key_fits_its_entry(tmp_path: Path) -> None:
    run = CliRunner().invoke(commands, ["keys", "new", "shop", "--scope", "read", "--limit", "9/minute"])
    key = run.stderr.split()[-1]
    assert len(key) >= 46
    assert key not in run.stdout
    path = tmp_path / "keys.yaml"
    path.write_text(f"keys:\n{run.stdout}")
    found = FollowedKeys(str(path)).find(key.encode())
    assert found is not None
    assert (found.name, found.scopes) == ("shop", {"read"})
    assert CliRunner().invoke(commands, ["keys", "check", str(path)]).stdout == "valid keys: 1\n"
    again = CliRunner().invoke(commands, ["keys", "new", "shop"])
    assert again.stderr.split()[-1] != key


@pytest.mark.parametrize("arguments", [["a b"], ["a", "--limit", "5"], ["a", "--expires", "soon"]])
def test_no_key_is_made_for_an_entry_that_is_wrong(arguments: list[str]) -> None:
    run = CliRunner().invoke(commands, ["keys", "new", *arguments])
    assert isinstance(run.exception, ConfigError)
    assert "rk_" not in run.output
