"""Requests that wait go through the stages together, as a batch."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from recsys import logs
from recsys.serving.errors import Unavailable

Request = TypeVar("Request")
Response = TypeVar("Response")


class Overloaded(Unavailable):
    """As many requests wait as are allowed to."""

    reason: ClassVar[str] = "overloaded"


class Abandoned(Unavailable):
    """A batch was cancelled before it had responses."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Request]):
    """A request in the queue; since: of `time.perf_counter`; ids: see `logs.request_ids`."""

    request: Request
    since: float
    ids: tuple[str, ...]


class Batcher(Generic[Request, Response]):
    """Runs waiting requests, many at a time.

    A request leaves at once while no batch is under way. Otherwise its batch waits up to `max_delay` seconds for
    further requests: clients whose request was just answered send the next one within that time, and would else find
    that a batch of few had left before. A request that is cancelled while it waits gives up its place.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Request]], Awaitable[Sequence[Response | BaseException]]],
        *,
        max_waiting: int,
        max_batch: int,
        batches: int,
        max_delay: float,
        on_batch: Callable[[Sequence[float]], None] = lambda _: None,
    ) -> None:
        """run: responses in the order of the requests, an exception for each that fails

        max_waiting: requests that may wait; max_batch: requests of one batch
        batches: batches under way at a time; max_delay: seconds
        on_batch: called for each batch that leaves, with the seconds for which each of its requests has waited
        """
        self._run = run
        self._max_waiting, self._max_batch = max_waiting, max_batch
        self._batches, self._max_delay = batches, max_delay
        self._on_batch = on_batch
        self._most_waiting = 0
        self._waiting: dict[asyncio.Future[Response], _Waiting[Request]] = {}
        self._workers: set[asyncio.Task[None] | None] = set()

    @property
    def waiting(self) -> int:
        """Requests that are not under way yet."""
        return len(self._waiting)

    def take_most_waiting(self) -> int:
        """The most requests that waited at the same time since the last call."""
        most, self._most_waiting = self._most_waiting, len(self._waiting)
        return most

    async def __call__(self, request: Request) -> Response:
        """The response; raises Overloaded at once where too many requests wait, else what the request failed with."""
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded(f"{self._max_waiting} requests are waiting already")
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[future] = _Waiting(request, time.perf_counter(), logs.request_ids())
        self._most_waiting = max(self._most_waiting, len(self._waiting))
        if len(self._workers) < self._batches:
            self._workers.add(asyncio.create_task(self._work()))
        try:
            return await future
        finally:
            self._waiting.pop(future, None)

    async def _work(self) -> None:
        """Run batches until no request waits. The next request starts another worker."""
        try:
            while self._waiting:
                if len(self._workers) > 1 and len(self._waiting) < self._max_batch:
                    await asyncio.sleep(self._max_delay)
                await self._run_batch(list(self._waiting)[: self._max_batch])
        finally:
            self._workers.discard(asyncio.current_task())

    async def _run_batch(self, futures: Sequence[asyncio.Future[Response]]) -> None:
        if not futures:  # another worker took them meanwhile
            return
        waiting = [self._waiting.pop(future) for future in futures]
        now = time.perf_counter()
        self._on_batch([now - one.since for one in waiting])
        logs.set_request_ids([number for one in waiting for number in one.ids])  # those of the batch before are done
        [responses] = await asyncio.gather(self._run([one.request for one in waiting]), return_exceptions=True)
        if isinstance(responses, asyncio.CancelledError):  # of the batch: it must not cancel the requests' own tasks
            responses = Abandoned("the requests were cancelled on their way")
        if isinstance(responses, BaseException):  # of any kind: each request of the batch ends with it
            responses = [responses] * len(futures)
        for future, response in zip(futures, responses, strict=True):
            if future.done():  # its client has gone
                continue
            if isinstance(response, BaseException):
                future.set_exception(response)
            else:
                future.set_result(response)
        await asyncio.sleep(0)  # requests that arrived meanwhile join the next batch
