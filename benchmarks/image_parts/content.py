"""What an image is made of: its size, its largest packages, its user, and programs that it must not have."""

import json
from dataclasses import dataclass
from typing import Any, Final

from image_parts.engine import Engine

MEGABYTE: Final = 1_000_000
PROGRAM: Final = """
import json, os, pathlib, shutil, sysconfig
site = pathlib.Path(sysconfig.get_path("purelib"))
def size(path):
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file() and not one.is_symlink()]
    return sum(one.lstat().st_size for one in files)
sizes = {path.name: size(path) for path in site.iterdir()}
caches = sum(size(path) for path in site.rglob("__pycache__"))
print(json.dumps({
    "uid": os.getuid(),
    "packages": sizes,
    "bytecode": caches,
    "python": sysconfig.get_python_version(),
    "programs": [name for name in ("gcc", "cc", "g++", "pip", "pip3", "make", "git") if shutil.which(name)],
    "writable": [path for path in ("/", "/app", "/opt/recsys", "/usr/local/bin", "/data", "/tmp", "/home/recsys")
                 if os.access(path, os.W_OK)],
}))
"""


@dataclass(frozen=True, slots=True)
class Content:
    """megabytes: of the whole image; packages: megabytes by the name in site-packages; bytecode: megabytes of caches

    programs: compilers and installers that are there; writable: folders that the user may write
    """

    megabytes: float
    packages: dict[str, float]
    bytecode: float
    uid: int
    python: str
    programs: tuple[str, ...]
    writable: tuple[str, ...]
    layers: int
    has_health_check: bool


def content(engine: Engine, image: str) -> Content:
    """The content of an image; raises RecsysError where it cannot be run."""
    described: dict[str, Any] = json.loads(engine.call("image", "inspect", image).stdout)[0]
    run = engine.call("run", "--rm", "--no-healthcheck", "--network", "none", image, "python", "-c", PROGRAM)
    seen: dict[str, Any] = json.loads(run.stdout)
    checked = described.get("Healthcheck") or described.get("Config", {}).get("Healthcheck")
    return Content(
        megabytes=described["Size"] / MEGABYTE,
        packages={name: size / MEGABYTE for name, size in seen["packages"].items()},
        bytecode=seen["bytecode"] / MEGABYTE,
        uid=seen["uid"],
        python=seen["python"],
        programs=tuple(seen["programs"]),
        writable=tuple(seen["writable"]),
        layers=len(described["RootFS"]["Layers"]),
        has_health_check=bool(checked),
    )
