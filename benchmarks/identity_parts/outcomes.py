"""Where an outcome lies: the registry that a checkout trained, its batch recommendations and its HTTP answers."""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recsys.errors import RecsysError

MASKED: Final = "VERSION"
"""Stands for the version's name, which differs from run to run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The files of a training run and of what was asked of its version for so many users."""

    folder: Path
    users: int

    @property
    def registry(self) -> Path:
        return self.folder / "registry"

    @property
    def trained(self) -> bool:
        return (self.registry / "production").exists()

    @property
    def version(self) -> Path:
        """The folder of the version in production."""
        pointer = json.loads((self.registry / "production").read_text(encoding="utf-8"))
        return self.registry / "versions" / str(pointer["version"])

    @property
    def asked(self) -> Path:
        """The folder of what depends on who was asked for."""
        return self.folder / f"users-{self.users}"

    @property
    def recommended(self) -> Path:
        return self.asked / "recommended.parquet"

    @property
    def answers(self) -> Path:
        return self.asked / "answers.json"

    def masked(self, text: str) -> str:
        """A text without the version's name."""
        return text.replace(self.version.name, MASKED)


def stamp(checkout: Path, data: str, settings: Sequence[str]) -> dict[str, Any]:
    """What an outcome depends on; raises RecsysError where the checkout has changes that no commit holds."""
    if _git(checkout, "status", "--porcelain"):
        raise RecsysError(f"{checkout} has uncommitted changes: what is kept goes by the commit")
    packages = {f"{found.name}=={found.version}" for found in importlib.metadata.distributions()}
    return {
        "commit": _git(checkout, "rev-parse", "HEAD"),
        "data": data,
        "settings": list(settings),
        "machine": [platform.platform(), _processor(), os.cpu_count()],
        "python": platform.python_version(),
        "packages": sorted(packages),
    }


def kept(folder: Path, stamped: dict[str, Any]) -> Path:
    """The folder for an outcome with this stamp; what lies there under another stamp is removed.

    Its name has the commit, the data and, where there are settings, `quick`.
    """
    parts = ["old", stamped["commit"][:12], file_name(stamped["data"]), *(["quick"] if stamped["settings"] else [])]
    found = folder / "-".join(parts)
    file = found / "stamp.json"
    if not file.exists() or json.loads(file.read_text(encoding="utf-8")) != stamped:
        emptied(found)
        file.write_text(json.dumps(stamped, indent=1), encoding="utf-8")
    return found


def emptied(folder: Path) -> Path:
    """The folder, made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def file_name(data: str) -> str:
    """A data source as part of a file's name."""
    return re.sub(r"[^\w.]+", "-", data).strip("-")


def _git(checkout: Path, *arguments: str) -> str:
    ended = subprocess.run(["git", "-C", checkout, *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RecsysError(f"{checkout} is no checkout of git: {ended.stderr.strip()}")
    return ended.stdout.strip()


def _processor() -> str:
    """The processor's model, by which cmfrec and NumPy choose their instructions; "" where Linux does not tell."""
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found = re.search(r"^(?:model name|CPU part)\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else ""
