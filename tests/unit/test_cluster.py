"""Starting Ray, or not."""

import socket

import pytest

from recsys.cluster import start_ray
from recsys.errors import ConfigError


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"{scheme}127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        with pytest.raises(ConfigError, match=r"RAY_ADDRESS=.*no Ray cluster answers at this address"):
            start_ray()
