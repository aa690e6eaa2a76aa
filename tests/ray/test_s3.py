"""From raw files to responses with everything on S3, and a service while S3 fails."""

import json
import logging
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from ray import serve

from recsys import cli
from recsys.errors import DataError, RegistryError, RuleError
from recsys.registry.bucket import S3Store
from recsys.registry.cache import Cache
from recsys.registry.locate import open_store
from recsys.serving.app import QUIET, build_app
from recsys.serving.rules import check_rules_file
from recsys.serving.run import answers
from recsys.serving.settings import ServeSettings
from recsys.storage.filesystem import put
from recsys.storage.s3 import S3Folder
from tests.support.buckets import Proxy
from tests.support.bundles import publish, retrained
from tests.support.processes import free_port, wait_until
from tests.support.services import health, service_bundle, service_of
from tests.support.shop_data import Event, events, train_arguments, user_id, write_shop


def test_a_rules_file_may_lie_there(bucket: str) -> None:
    address = f"{bucket}/shop/rules.yaml"
    with pytest.raises(DataError, match="cannot be read"):
        check_rules_file(address)
    put(b"rules:\n- {name: x, diversity: 0.2}\n", address)
    check_rules_file(address)
    put(b"rules:\n- {name: x, diversity: 2}\n", address)
    with pytest.raises(RuleError, match=rf"{address}, line 2: rule 'x': diversity"):
        check_rules_file(address)


@pytest.mark.usefixtures("ray_session")
def test_train_recommend_and_serve(
    bucket: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has a small sweep. Only S3_BUCKET names the registry."""
    monkeypatch.setenv("S3_BUCKET", bucket.removeprefix("s3://"))
    write_shop(tmp_path, [*events(), Event(-1, 1, "view", 2)])
    for path in tmp_path.iterdir():
        put(path, f"{bucket}/data/{path.name}")
    options = train_arguments(f"{bucket}/data", "")
    del options[options.index("--registry") : options.index("--registry") + 2]
    grid = {"search": {"hybrid.alpha": [0.1, 0.3]}, "searcher": "grid", "scheduler": "none", "concurrency": 1}
    (tmp_path / "sweep.yaml").write_text(json.dumps(grid))
    assert cli.main(["train", *options, "--tune", str(tmp_path / "sweep.yaml")]) == 0
    store = open_store(f"{bucket}/registry")
    version = store.production()
    out = capfd.readouterr().out
    assert f"published {version}" in out
    assert f"listed in {bucket}/registry-work/quarantine.parquet" in out
    work = S3Folder(f"{bucket}/registry-work", RegistryError)
    names = [entry.name for entry in work.find()]
    assert "quarantine.parquet" in names
    assert any("/trial_" in name for name in names)

    assert cli.main(["models", "list"]) == 0
    [listed] = [line for line in capfd.readouterr().out.splitlines() if line.strip().startswith("*")]
    assert version in listed
    (tmp_path / "users.csv").write_text(f"visitorid\n{user_id(3)}\n-1\n")
    arguments = [
        "recommend",
        "--users",
        str(tmp_path / "users.csv"),
        "--n",
        "5",
        "--out",
        str(tmp_path / "out.parquet"),
    ]
    assert cli.main(arguments) == 0
    recommended = pq.read_table(tmp_path / "out.parquet").to_pylist()

    settings = ServeSettings(topology="fused", cpus=0, poll_seconds=0.1)
    assert settings.registry == f"{bucket}/registry"
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=QUIET)
    try:
        serve.run(build_app(settings), name="recsys", route_prefix="/")
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers("127.0.0.1", port))
        answer = httpx.get(f"{url}/recommend/{user_id(3)}?n=5").json()
    finally:
        serve.shutdown()
    assert answer["model_version"] == version
    assert [row["itemid"] for row in answer["recommendations"]] == [row["itemid"] for row in recommended[:5]]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["403", "corrupt"])
async def test_the_old_version_serves_on_while_s3_fails(
    kind: str,
    bucket: str,
    faults: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S3 fails for a file of the new version, then for the pointer. Without faults the new version serves."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setattr("recsys.serving.following.RETRY_REJECTED_SECONDS", 0.0)
    store = S3Store(f"{bucket}/models", Cache(tmp_path / "publisher"))
    publish(store, service_bundle(), "v1")
    service = service_of(S3Store(f"{bucket}/models", Cache(tmp_path / "server")))
    await service.following.update()
    publish(store, retrained(service_bundle()), "v2")

    faults.spoil(kind, r"GET .*/v2/ranker\.txt")
    await service.following.update()
    told = await health(service)
    assert (told["status"], told["model_version"], told["refused"]["version"]) == ("healthy", "v1", "v2")
    assert f"{bucket}/models/versions/v2/ranker.txt: " in told["refused"]["reason"]
    faults.spoil(kind, "GET .*/production")
    with caplog.at_level(logging.WARNING):
        await service.following.update()
    assert "cannot be followed now" in caplog.text
    assert (await health(service))["model_version"] == "v1"

    faults.faults.clear()
    await service.following.update()
    assert (await health(service))["model_version"] == "v2"
