"""Files of API keys for tests."""

import hashlib
import json
from pathlib import Path
from typing import Any

READ_KEY = "rk_reads"
ADMIN_KEY = "rk_runs-the-service"


def entry(key: str, name: str = "shop", scopes: tuple[str, ...] = ("read",), **more: Any) -> dict[str, Any]:
    """The entry of a key."""
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": scopes, **more}


def keys_document(*entries: dict[str, Any]) -> bytes:
    """A document of keys; by default of READ_KEY and ADMIN_KEY."""
    own = (entry(READ_KEY), entry(ADMIN_KEY, "operator", ("read", "admin")))
    return json.dumps({"keys": entries or own}).encode()


def keys_file(folder: Path, *entries: dict[str, Any]) -> Path:
    """A file of such a document."""
    path = folder / "keys.yaml"
    path.write_bytes(keys_document(*entries))
    return path


def bearer(key: str) -> dict[str, str]:
    """The header of a key."""
    return {"Authorization": f"Bearer {key}"}
