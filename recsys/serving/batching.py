"""Requests that wait go through the stages together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from recsys.errors import RecsysError

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Overloaded(RecsysError):
    """As many requests wait as are allowed to."""


class Abandoned(RecsysError):
    """A batch was cancelled before it had answers."""


class Coalescer(Generic[Question, Answer]):
    """Hands waiting questions to `run`, many at a time.

    A question that finds nothing under way leaves at once. While another batch is under way, the next one waits
    `linger` seconds before it leaves: those who have just been answered ask again within that time, and without it
    they would find that a batch of few has left before them. Whoever is cancelled while waiting gives up the place.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Question]], Awaitable[Sequence[Answer | BaseException]]],
        *,
        max_waiting: int,
        max_batch: int,
        batches: int,
        linger: float,
    ) -> None:
        """run: answers in the order of the questions, an exception for each that fails"""
        self._run = run
        self._max_waiting, self._max_batch = max_waiting, max_batch
        self._batches, self._linger = batches, linger
        self._waiting: dict[asyncio.Future[Answer], Question] = {}
        self._workers: set[asyncio.Task[None] | None] = set()

    @property
    def waiting(self) -> int:
        """Questions that are not under way yet."""
        return len(self._waiting)

    async def __call__(self, question: Question) -> Answer:
        """The answer; raises Overloaded at once where too many wait, else what the answer was if an exception."""
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded(f"{self._max_waiting} requests are waiting already")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[future] = question
        if len(self._workers) < self._batches:
            self._workers.add(asyncio.create_task(self._work()))
        try:
            return await future
        finally:
            self._waiting.pop(future, None)

    async def _work(self) -> None:
        """Run batches until nobody waits; whoever asks after that finds this worker gone."""
        try:
            while self._waiting:
                if len(self._workers) > 1 and len(self._waiting) < self._max_batch:
                    await asyncio.sleep(self._linger)
                await self._run_batch(list(self._waiting)[: self._max_batch])
        finally:
            self._workers.discard(asyncio.current_task())

    async def _run_batch(self, futures: Sequence[asyncio.Future[Answer]]) -> None:
        if not futures:  # another worker took them meanwhile
            return
        questions = [self._waiting.pop(future) for future in futures]
        [answers] = await asyncio.gather(self._run(questions), return_exceptions=True)
        if isinstance(answers, asyncio.CancelledError):  # of the batch: those who wait are not to end like that
            answers = Abandoned("the requests were cancelled on their way")
        if isinstance(answers, BaseException):  # whatever it is, those who wait have to hear of it
            answers = [answers] * len(futures)
        for future, answer in zip(futures, answers, strict=True):
            if future.done():  # its client has gone
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        await asyncio.sleep(0)  # lets those in who arrived meanwhile
