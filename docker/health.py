"""The health check of the image: whether the service answers `/health` with 200.

A container that does not serve is healthy as long as it runs: Ray's nodes end with their processes, commands with their
work. Exit code 1 means unhealthy, and the line on stdout has the reason.
"""

import sys
import tempfile
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

COMMAND: Final = "recsys-command"
"""The file in the folder for temporary files in which the entry point writes the command that it runs."""
PORT: Final = 8000
"""The port on which the entry point lets the service listen."""
SECONDS: Final = 4
"""Time in which the service answers; the image gives the whole check five seconds."""


def check(host: str, port: int) -> tuple[bool, str]:
    """Whether the service is healthy, and one line that describes its response."""
    connection = HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except (OSError, HTTPException) as error:
        return False, f"/health: {error}"
    finally:
        connection.close()
    return response.status == HTTPStatus.OK, f"{response.status} {body}"


def main() -> int:
    """The exit code of the check."""
    command = Path(tempfile.gettempdir()) / COMMAND
    if command.exists() and command.read_text(encoding="utf-8").strip() != "serve":
        return 0
    healthy, line = check("127.0.0.1", PORT)
    print(line)
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
