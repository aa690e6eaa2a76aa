"""Starting Ray, or not."""

import socket
from pathlib import Path

import pytest

from recsys.cluster import keep_token_private, start_ray
from recsys.errors import ConfigError


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"{scheme}127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        with pytest.raises(ConfigError, match=r"RAY_ADDRESS=.*no Ray cluster answers at this address"):
            start_ray()


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
