"""Workers that die while tables and features are built change nothing."""

import os
from pathlib import Path

import pytest

from recsys import cli
from recsys.training import examples, sessions, tables
from tests.support.faults import killer, waiting_once
from tests.support.shop_data import train_arguments
from tests.support.trained import SESSIONS, metrics_of, trained_shop

VICTIMS = [
    *((tables, name) for name in ("sample_users", "count_partition", "fit_cut")),
    (examples, "make_examples"),
    (sessions, "fit_tables_of_sessions"),
]
"""Functions that run in Ray's workers, plain tasks and the one of Ray Data."""


@pytest.mark.usefixtures("ray_session")
@pytest.mark.soak(10)
def test_killed_workers_change_no_metric(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = trained_shop(tmp_path_factory)
    markers = [tmp_path / f"{name}.pid" for _, name in VICTIMS]
    for (module, name), marker in zip(VICTIMS, markers, strict=True):
        monkeypatch.setattr(module, name, waiting_once(getattr(module, name), marker))
    registry = tmp_path / "registry"
    with killer(markers) as killed:
        assert cli.main(["train", *train_arguments(undisturbed.data, registry, SESSIONS)]) == 0
    assert len(set(killed)) == len(VICTIMS)
    assert os.getpid() not in killed
    assert metrics_of(registry) == undisturbed.metrics
