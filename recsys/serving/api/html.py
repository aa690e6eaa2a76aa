"""HTML pages of the service, with a policy that names everything they may load."""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Final

from fastapi.responses import Response

from recsys.serving.api.messages import SAFE

SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def policy(scripts: Sequence[str], images: Sequence[str]) -> str:
    """A Content-Security-Policy of a page that asks its own service alone, and that no other page may frame.

    scripts, images: the sources that may be used, such as 'self'
    Styles may be inline: the pages set widths of bars, which no stylesheet can know.
    """
    directives = {
        "default-src": ("'none'",),
        "connect-src": ("'self'",),
        "img-src": images,
        "script-src": scripts,
        "style-src": ("'self'", "'unsafe-inline'"),
        "base-uri": ("'none'",),
        "form-action": ("'none'",),
        "frame-ancestors": ("'none'",),
    }
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in directives.items())


def script_hashes(html: str) -> list[str]:
    """The sources that allow the inline scripts of a page, and no other script."""
    return [hash_of(script) for script in SCRIPT.findall(html)]


def hash_of(script: str) -> str:
    """The source that allows an inline script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def html_response(content: bytes, policy: str) -> Response:
    """A page, which the browser asks for again each time."""
    headers = {**SAFE, "Cache-Control": "no-cache", "Content-Security-Policy": policy}
    return Response(content, media_type="text/html", headers=headers)
