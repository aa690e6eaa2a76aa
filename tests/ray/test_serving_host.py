"""What a service has of its own on a host: a folder, ports, and a HAProxy with bounds."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from recsys.serving.host import haproxy
from recsys.serving.host.environment import (
    LAUNCHER,
    check_ports,
    haproxy_program,
    service_environment,
    write_launcher,
    write_limits,
)
from recsys.serving.host.folder import BLOCK, ServiceFolder, claim, service_folder
from recsys.serving.host.haproxy import ConfigurationError, Limits, adapted
from recsys.serving.host.ports import check_address, is_free, listener
from tests.support.processes import free_port, wait_until

DEFAULT = Limits()
SERVE = """global
    log 127.0.0.1:514 local0 info
    stats socket {folder}/admin mode 666 level admin expose-fd listeners
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 3600s
    timeout http-keep-alive 90s
    errorfile 502 {folder}/500.http
    errorfile 503 {folder}/500.http
    balance leastconn
frontend prometheus
    bind :{metrics}
    http-request use-service prometheus-exporter if {{ path /metrics }}
    no log
frontend http_frontend
    bind 127.0.0.1:{port}
    use_backend http-shop if {{ path_beg / }}
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \\'%[path]\\' not found."
backend http-shop
    server replica 127.0.0.1:{replica} check observe layer4 error-limit 3 on-error mark-down
    server fallback 127.0.0.1:{fallback} check backup
listen stats
  bind *:{stats}
  stats enable
"""
"""The lines of Serve's configuration that are changed, in their places."""


def configuration(folder: Path, port: int = 1) -> str:
    return SERVE.format(
        folder=folder, port=port, **{name: free_port() for name in ("metrics", "stats", "replica", "fallback")}
    )


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a short path, in which services have theirs."""
    folder = Path(tempfile.mkdtemp(prefix="h", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_the_configuration_is_private_and_bounded() -> None:
    limits = Limits(per_replica=7, queue_ms=900, response_ms=3000, per_address=11)
    changed = adapted(configuration(Path("/tmp/x")), limits)
    lines = [line.strip() for line in changed.splitlines()]
    assert "mode 666" not in changed
    assert "not found" not in changed
    assert "option http-buffer-request" in lines
    assert "errorfile 502" not in changed
    assert [line for line in lines if line.startswith("bind") and "127.0.0.1:" not in line] == []
    assert [line for line in lines if line.startswith("server ") and not line.endswith("maxconn 7")] == []
    assert {"timeout queue 900ms", "timeout server 3000ms", "timeout client 30s", "timeout http-request 5s"} < {*lines}
    assert "tcp-request connection reject if { sc0_conn_cur gt 11 }" in lines
    assert "balance leastconn" in lines


def test_haproxy_takes_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(adapted(configuration(tmp_path), Limits()))
    checked = subprocess.run([haproxy_program(), "-c", "-f", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    "lost", ["stats socket", "bind *:", "http-request return status 404", " check ", "frontend http_frontend"]
)
def test_a_configuration_of_another_form_is_refused(lost: str) -> None:
    """Ray may write another one some day: then nothing must be left open silently."""
    kept = "\n".join(line for line in configuration(Path("/tmp/x")).splitlines() if lost not in line) + "\n"
    with pytest.raises(ConfigurationError):
        adapted(kept, Limits())


def test_without_a_replica_there_is_no_backend() -> None:
    text = configuration(Path("/tmp/x"))
    start, end = text.index("\nbackend http-shop") + 1, text.index("listen stats")
    assert "deny_status 503" in adapted(text[:start] + text[end:], Limits())


def test_limits_are_read_as_they_were_written() -> None:
    limits = Limits(per_replica=3, queue_ms=50)
    assert Limits.from_text(limits.to_text()) == limits
    assert Limits.from_text("") == Limits()


@contextmanager
def launched(folder: Path, port: int, limits: Limits = DEFAULT, text: str = "") -> Iterator["subprocess.Popen[bytes]"]:
    """HAProxy, started by the launcher as Serve does it."""
    if not (folder / LAUNCHER).exists():
        write_launcher(folder)
    write_limits(folder, limits)
    file = folder / "haproxy.cfg"
    file.write_text(text or configuration(folder, port))
    with subprocess.Popen(
        [str(folder / LAUNCHER), "-db", "-f", str(file), "-dR"], stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: not is_free(port, "127.0.0.1"))
            yield process
        finally:
            process.kill()


def answer(port: int, request: bytes = b"GET /recommend/1 HTTP/1.0\r\n\r\n") -> bytes:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def is_cut_off(port: int) -> bool:
    """Whether a connection is closed without an answer."""
    with suppress(ConnectionResetError):
        return answer(port) == b""
    return True


def second_is_cut_off(port: int) -> bool:
    """Whether a connection is closed without an answer while another one is open.

    The other one is cut off itself where HAProxy has not yet forgotten a connection of before.
    """
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)):
        return is_cut_off(port)


def test_errors_of_haproxy_are_json_and_say_when_to_try_again(short: Path) -> None:
    port = free_port()
    with launched(short, port) as process:
        refused, bad = answer(port), answer(port, b"nonsense\r\n\r\n")
        routes = answer(port, b"GET /-/Routes HTTP/1.0\r\n\r\n")  # Serve's own rule takes any case
        assert (short / "admin").stat().st_mode & 0o777 == 0o600
        assert haproxy.processes(short) == [process.pid]
        assert listener(port) == f" by haproxy (pid {process.pid})"
    head, _, body = refused.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert body == b'{"detail":"the service cannot answer now; try again"}'
    [again] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"retry-after:")]
    assert 1 <= int(again.split(b":")[1]) <= 3
    assert bad.startswith(b"HTTP/1.1 400")
    assert routes.startswith(b"HTTP/1.1 404")
    assert routes.endswith(b'{"detail":"Not Found"}')


def test_haproxy_ends_with_the_process_that_started_it(short: Path) -> None:
    write_launcher(short)
    port, file = free_port(), short / "haproxy.cfg"
    file.write_text(configuration(short, port))
    starter = f"import subprocess; subprocess.run([{str(short / LAUNCHER)!r}, '-db', '-f', {str(file)!r}])"
    with subprocess.Popen([sys.executable, "-c", starter], stderr=subprocess.DEVNULL) as parent:
        wait_until(lambda: len(haproxy.processes(short)) == 1 and not is_free(port, "127.0.0.1"))
        parent.kill()
    wait_until(lambda: not haproxy.processes(short))


def test_draining_ends_haproxy_once_its_requests_have_ended(short: Path) -> None:
    with launched(short, free_port()) as process:
        haproxy.drain(short, 20)
        assert process.wait(5) == 0


def test_limits_are_read_at_each_start(short: Path) -> None:
    port = free_port()
    with launched(short, port, Limits(per_address=1)):
        wait_until(lambda: answer(port).startswith(b"HTTP/1.1 503"))
        wait_until(lambda: second_is_cut_off(port))
        wait_until(lambda: not is_cut_off(port))


def test_services_share_neither_folder_nor_port(short: Path) -> None:
    with service_folder() as first, service_folder() as second:
        assert first.path != second.path
        assert abs(first.first_port - second.first_port) >= BLOCK
        assert all(folder.path.stat().st_mode & 0o777 == 0o700 for folder in (first, second))
        names = [{*service_environment(folder).items()} - {*os.environ.items()} for folder in (first, second)]
    assert {name for name, _ in names[0] & names[1] if name.endswith(("_PORT", "_PATH", "_LOC"))} == set()
    assert [*short.glob("*/s-*")] == []


def test_ports_that_are_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_METRICS_PORT", "9101")
    assert service_environment(ServiceFolder(Path("/x"), 20_000, -1))["RAY_SERVE_HAPROXY_METRICS_PORT"] == "9101"


def test_a_haproxy_that_starts_anew_knows_the_replicas_of_the_one_before(short: Path) -> None:
    """Serve's manager that was killed has to ask for them again; requests must not wait for that."""
    port = free_port()
    with launched(short, port):
        known = (short / "haproxy.cfg").read_text()
    text = (short / "haproxy.cfg").read_text()
    start, end = text.index("\nbackend http-shop") + 1, text.index("listen stats")
    fresh = text[:start] + text[end:]
    haproxy.write_configuration(short / "haproxy.cfg", fresh)
    assert (short / "haproxy.cfg").read_text() == known


def test_what_a_killed_service_left_behind_is_removed(short: Path) -> None:
    program = (
        "from recsys.serving.host.folder import service_folder\n"
        "with service_folder() as folder:\n"
        "    print(folder.path, flush=True)\n"
        "    input()\n"
    )
    with (
        service_folder() as living,
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(short)},
        ) as other,
    ):
        left = Path(other.stdout.readline().strip() if other.stdout else "")
        assert left.is_dir()
        with launched(left, free_port()) as orphan:
            other.kill()
            other.wait()
            with service_folder():
                assert orphan.wait(5) != 0
                assert not left.exists()
                assert living.path.is_dir()


def test_a_folder_of_somebody_else_is_refused(short: Path) -> None:
    root = short / f"recsys-{os.getuid()}"
    root.mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="this user alone"), service_folder():
        pass
    root.rmdir()
    root.symlink_to(short)
    with pytest.raises(ConfigError, match="this user alone"), service_folder():
        pass


def test_a_path_too_long_for_sockets_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 40)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(ConfigError, match="TMPDIR"), service_folder():
        pass


def test_a_taken_port_is_named_with_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} of 127.0.0.1 is taken by \S+ \(pid {os.getpid()}\)"):
            check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)


def test_an_address_of_the_sixth_version_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing can listen there"):
        check_address("::1", free_port())


def test_a_configuration_of_other_addresses_is_not_replaced_by_the_last_one(tmp_path: Path) -> None:
    """A lasting folder of a cluster's node: the port or the application changed."""
    file = tmp_path / "haproxy.cfg"
    haproxy.write_configuration(file, configuration(tmp_path, 1001))
    text = configuration(tmp_path, 1002)
    start, end = text.index("\nbackend http-shop") + 1, text.index("listen stats")
    haproxy.write_configuration(file, text[:start] + text[end:])
    assert "bind 127.0.0.1:1002" in file.read_text()


def test_what_one_service_claims_no_other_gets() -> None:
    first = claim("port-1")
    assert first is not None
    assert claim("port-1") is None
    first.close()
    second = claim("port-1")
    assert second is not None
    second.close()


def test_a_port_that_the_environment_sets_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.delenv("RAY_SERVE_HAPROXY_METRICS_PORT", raising=False)
        monkeypatch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", str(server.getsockname()[1]))
        with pytest.raises(ConfigError, match="RAY_SERVE_HAPROXY_STATS_PORT: port"):
            check_ports()


def test_many_services_start_at_once(short: Path) -> None:
    program = (
        "from recsys.serving.host.folder import service_folder\n"
        "for _ in range(20):\n"
        "    with service_folder() as folder:\n"
        "        assert folder.path.is_dir()\n"
    )
    starts = [
        subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"TMPDIR": str(short)}) for _ in range(3)
    ]
    assert [start.wait(60) for start in starts] == [0, 0, 0]
    assert [*short.glob("*/s-*")] == []
