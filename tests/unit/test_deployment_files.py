"""Every file that starts Ray somewhere turns its token on: without it, whoever reaches Ray's ports runs code there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = ("*.yaml", "*.yml", "Dockerfile*", "compose*", "deploy/**/*", "docs/how-to/*.md", "README.md")
STARTS = re.compile(r"ray start\b|kind: *Ray(Service|Cluster|Job)\b")
"""What starts Ray."""
SERVES = re.compile(r"serve_app\.py|train_job\.py|recsys[\s\"',\]]{1,4}(serve|train)\b")
"""What starts a Ray of its own. On a person's machine, as on the pages, Ray itself makes the token."""
TOKEN = re.compile(
    r"RAY_AUTH_MODE[\"']?\s*[:=,]\s*[\"']?token\b"
    r"|RAY_AUTH_MODE[\"']?,?\s*[\"']?value[\"']?\s*:\s*[\"']?token\b"
    r"|name:\s*[\"']?RAY_AUTH_MODE[\"']?\s*\n\s*value:\s*[\"']?token\b"
    r"|authOptions:\s*\n\s*mode:\s*[\"']?token\b"
)


def is_safe(text: str, is_page: bool = False) -> bool:
    """Whether a file starts no Ray, or one with a token."""
    starts = STARTS.search(text) or (not is_page and SERVES.search(text))
    return not starts or bool(TOKEN.search(text))


FILES = sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern) if path.is_file()})


def texts(path: Path) -> str:
    """The text of a file that is run: the commands of a page, all but the comments of another; empty without text."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
    if path.suffix == ".md":
        return "\n".join(re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE))
    return re.sub(r"^ *#.*", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_ray_has_a_token(path: Path) -> None:
    text = texts(path)
    assert is_safe(text, path.suffix == ".md"), f"{path} starts Ray without RAY_AUTH_MODE=token"
    assert not re.search(r"RAY_AUTH_MODE\W{1,4}disabled", text)


def test_the_cluster_file_is_among_them() -> None:
    text = texts(ROOT / "cluster.yaml")
    assert ROOT / "cluster.yaml" in FILES
    assert STARTS.search(text)
    assert not is_safe(text.replace("RAY_AUTH_MODE=token", ""))
    assert not is_safe(text.replace("RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled"))


@pytest.mark.parametrize(
    "text",
    [
        "env:\n- name: RAY_AUTH_MODE\n  value: token",
        "environment:\n  RAY_AUTH_MODE: token",
        "ENV RAY_AUTH_MODE=token",
        "spec:\n  authOptions:\n    mode: token",
        '{"name": "RAY_AUTH_MODE", "value": "token"}',
    ],
)
def test_each_way_to_write_it_counts(text: str) -> None:
    assert is_safe(f"kind: RayService\n{text}")
    assert is_safe(f'CMD ["recsys", "serve"]\n{text}')
    assert not is_safe('CMD ["recsys", "serve"]')
    assert not is_safe(f"kind: RayService\n{text.replace('token', 'none')}")
