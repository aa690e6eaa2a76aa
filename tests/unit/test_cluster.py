"""Starting Ray, or not."""

import socket
from pathlib import Path

import pytest

from recsys.cluster import keep_token_private, ray_address, start_ray
from recsys.errors import ConfigError


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"{scheme}127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        with pytest.raises(ConfigError, match=r"RAY_ADDRESS=.*no Ray cluster answers at this address"):
            start_ray()


def test_a_cluster_that_is_gone_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that was killed, as at the end of a machine's power, leaves its address behind."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ray_address() == "local"
    last = tmp_path / "ray" / "ray_current_cluster"
    last.parent.mkdir()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        last.write_text(address)
        assert ray_address() == address
        monkeypatch.setenv("RAY_ADDRESS", "local")
        assert ray_address() == "local"
        monkeypatch.setenv("RAY_ADDRESS", "auto")
        assert ray_address() == address
    with pytest.raises(ConfigError, match=r"RAY_ADDRESS='auto': no Ray cluster answers"):
        ray_address()
    monkeypatch.delenv("RAY_ADDRESS")
    assert ray_address() == "local"


@pytest.mark.parametrize("port", ["0", "65536", "99999999999"])
def test_an_address_with_an_impossible_port(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(ConfigError, match="no Ray cluster answers"):
        ray_address()


def test_the_token_is_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    monkeypatch.setenv("HOME", str(tmp_path))
    keep_token_private()
    assert token.stat().st_mode & 0o777 == 0o600
    token.unlink()
    keep_token_private()
