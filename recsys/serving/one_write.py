"""Responses leave a replica in one piece: headers and body in one write.

uvicorn writes the headers, then the body. A replica that is killed in between would leave the client with half an
answer, which no proxy can repair: it repeats a request only while nothing of the answer has arrived. One write also
costs one system call less, here and in the proxy.
"""

import asyncio
from typing import Any, Final

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from recsys.serving.api.request_ids import OneId

LARGEST: Final = 65_536
PROTOCOL: Final = f"{__name__}:OneWriteProtocol"


def use_one_write() -> None:
    """Make the uvicorn servers that this process starts from now on send each response in one write."""
    HTTP_PROTOCOLS["auto"] = PROTOCOL


class OneWriteTransport:
    """A transport that collects what is written within one turn of the event loop, LARGEST bytes at most."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send data at the end of this turn; at once where much is collected, so that a slow reader is noticed."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > LARGEST:
            self._flush()

    def get_write_buffer_size(self) -> int:
        """Bytes that have not left yet."""
        return self._size + self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Send what was written, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._transport.write(data)


class OneWriteProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's HTTP protocol over such a transport; each request has one id, see `OneId`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.app = OneId(self.app)  # type: ignore[has-type]

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(OneWriteTransport(transport, self.loop))
