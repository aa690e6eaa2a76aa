"""HTTP load by wrk: a fixed random mix of warm and cold users, replayed from its start in every run."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from recsys.errors import DataError, RecsysError
from recsys.registry import bundle
from recsys.registry.locate import open_store
from recsys.schema import EVENT_TYPES

SEED: Final = 11
REQUESTS: Final = 10_000
"""Length of the mix; a run that gets further starts it over."""
LONGEST_SESSION: Final = 8
"""Events of a session at most."""
TIMEOUT_SECONDS: Final = 10
"""Beyond the service's deadline, so that a late answer counts as late."""
LOOKED_AT: Final = 50_000
"""Users drawn to find warm and cold ones among."""

SCRIPT: Final = """
local contents = { %s }
local requests, at = {}, 0
local json = { ["Content-Type"] = "application/json" }
init = function()
  for name, value in pairs(wrk.headers) do json[name] = value end
  for i, content in ipairs(contents) do
    if content:sub(1, 1) == "/" then requests[i] = wrk.format("GET", content)
    else requests[i] = wrk.format("POST", "/recommend", json, content) end
  end
end
request = function()
  at = at %% #requests + 1
  return requests[at]
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\n{"p50":%%f,"p95":%%f,"p99":%%f,"requests":%%d,"us":%%d,"refused":%%d,"failed":%%d}\\n',
    latency:percentile(50), latency:percentile(95), latency:percentile(99),
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of wrk saw.

    p50, p95, p99: ms, of all answers; where one took more than twice the usual time, wrk adds the requests that its
    connection would have made meanwhile, so that a stall weighs as much as at a steady rate of requests
    mean: ms, by Little's law: connections / answers a second
    throughput: answers with status 2xx or 3xx a second; requests: answers of any status
    errors: answers with another status, failed connections, reads and writes, and answers after TIMEOUT_SECONDS; a
    connection that the server closes in between is none, wrk opens another one
    """

    p50: float
    p95: float
    p99: float
    mean: float
    throughput: float
    errors: int
    requests: int


def check_wrk() -> None:
    if shutil.which("wrk") is None:
        raise RecsysError("wrk is not installed, which makes the load; it is in Debian's package wrk")


def request_mix(registry: Path, warm_share: float) -> list[str]:
    """Paths of REQUESTS requests for users of the version in production, drawn with repetition, always the same."""
    opened = bundle.read(open_store(str(registry)).path(), verify=False)
    return [f"/recommend/{opened.snapshot.users[int(row)]}?n=5" for row in _users(opened, warm_share)]


def session_mix(registry: Path, warm_share: float) -> list[str]:
    """Bodies of REQUESTS requests for sessions without a user, always the same.

    A session is the newest events of a user of `request_mix`, 1 to LONGEST_SESSION of them.
    """
    opened = bundle.read(open_store(str(registry)).path(), verify=False)
    lengths = np.random.default_rng(SEED).integers(1, LONGEST_SESSION, REQUESTS, endpoint=True)
    bodies = []
    for row, length in zip(_users(opened, warm_share), lengths.tolist(), strict=True):
        visit = opened.snapshot.take(np.array([row])).latest(length)
        ids, events = opened.items.to_list(visit.items), [EVENT_TYPES[event] for event in visit.events]
        listed = [{"itemid": item, "event": event} for item, event in zip(ids, events, strict=True)]
        bodies.append(json.dumps({"events": listed, "n": 5}, ensure_ascii=False))
    return bodies


def _users(opened: bundle.Bundle, warm_share: float) -> np.ndarray:
    """Positions of users in the snapshot, int64 (REQUESTS,), drawn with repetition."""
    generator = np.random.default_rng(SEED)
    rows = generator.integers(len(opened.snapshot.users), size=LOOKED_AT)
    warm = opened.tables.factors.warm(opened.snapshot.take(rows))
    if warm.all() or not warm.any():
        raise DataError(
            f"version {opened.version}: expected warm and cold users, found {int(warm.sum())} warm of {LOOKED_AT}"
        )
    return np.where(
        generator.random(REQUESTS) < warm_share,
        generator.choice(rows[warm], REQUESTS),
        generator.choice(rows[~warm], REQUESTS),
    )


def write_script(contents: list[str], file: Path) -> Path:
    """The Lua file that makes wrk replay requests: paths to GET, and bodies to POST to /recommend."""
    file.write_text(SCRIPT % ",\n".join(json.dumps(one) for one in contents), encoding="utf-8")
    return file


def run_wrk(script: Path, port: int, concurrency: int, seconds: float) -> Load:
    """Load of `concurrency` connections, each with one request under way at a time.

    Raises RecsysError where none was answered.
    """
    command = ["wrk", "--threads", "1", "--connections", str(concurrency), "--duration", f"{max(1, round(seconds))}s"]
    command += ["--timeout", f"{TIMEOUT_SECONDS}s", "--script", str(script), f"http://127.0.0.1:{port}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    if ended.returncode or not found:
        raise RecsysError(f"wrk ended with exit code {ended.returncode}: {ended.stderr or ended.stdout}")
    seen: dict[str, Any] = json.loads(found[-1])
    if not seen["requests"]:
        raise RecsysError(f"no request was answered within {seconds:g} s at concurrency {concurrency}: {seen}")
    return Load(
        **{name: seen[name] / 1000 for name in ("p50", "p95", "p99")},
        mean=concurrency * seen["us"] / 1000 / seen["requests"],
        throughput=(seen["requests"] - seen["refused"]) / (seen["us"] / 1e6),
        errors=seen["refused"] + seen["failed"],
        requests=seen["requests"],
    )
