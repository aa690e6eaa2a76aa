"""A training run that is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recsys import cli, console
from tests.support.shop_data import train_arguments

Refused = Callable[..., str]


def training_error(capfd: pytest.CaptureFixture[str], registry: Path, data: Path | str, *settings: str) -> str:
    """The one line of the error of a training run that ends with exit code 2 and publishes nothing."""
    capfd.readouterr()
    assert cli.main(["train", *train_arguments(data, registry, *settings)]) == console.BAD_INPUT
    assert not registry.exists()
    out, err = capfd.readouterr()
    assert "published" not in out
    assert "Traceback" not in err
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert err.splitlines()[-1] == line
    return line
