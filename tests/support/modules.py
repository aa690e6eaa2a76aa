"""The package's modules and what they import, read from their source."""

import ast
from collections.abc import Collection
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "recsys").rglob("*.py"))}


def imports_of(name: str) -> set[str]:
    """Full names of what a module imports; of `from a import b` both a.b, where that is a module, and a."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: write imports in full"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inner or {node.module}
    return found


IMPORTS = {name: imports_of(name) for name in MODULES}


def libraries_reached(libraries: Collection[str]) -> dict[str, set[str]]:
    """For each module, the libraries among the given ones that importing it loads, through any chain of imports."""
    inner = {name: IMPORTS[name] & MODULES.keys() for name in MODULES}
    reached: dict[str, set[str]] = {}
    for name in TopologicalSorter(inner).static_order():
        own = {other.split(".")[0] for other in IMPORTS[name]} & set(libraries)
        reached[name] = own.union(*(reached[other] for other in inner[name]))
    return reached
