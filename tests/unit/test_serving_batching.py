import asyncio
from collections.abc import Sequence

import pytest

from recsys import logs
from recsys.serving.batching import Abandoned, Batcher, Overloaded
from tests.support.services import until

pytestmark = pytest.mark.anyio


class Kitchen:
    """Answers a request by its double once the door is open; keeps the batches it saw."""

    def __init__(self) -> None:
        self.door = asyncio.Event()
        self.batches: list[list[int]] = []
        self.busy = 0
        self.fault: BaseException | None = None

    async def __call__(self, requests: Sequence[int]) -> list[int | BaseException]:
        self.batches.append(list(requests))
        self.busy += 1
        try:
            await self.door.wait()
        finally:
            self.busy -= 1
        if self.fault is not None:
            raise self.fault
        return [2 * request if request >= 0 else ValueError(request) for request in requests]


@pytest.fixture
async def kitchen() -> Kitchen:
    return Kitchen()


def batcher(
    kitchen: Kitchen, max_waiting: int = 100, max_batch: int = 10, batches: int = 1, max_delay: float = 0
) -> Batcher[int, int]:
    return Batcher(kitchen, max_waiting=max_waiting, max_batch=max_batch, batches=batches, max_delay=max_delay)


async def ask(one: Batcher[int, int], *requests: int) -> list[asyncio.Task[int]]:
    """Questions that have been asked and are under way or waiting."""
    tasks = [asyncio.create_task(one(request)) for request in requests]
    await asyncio.sleep(0)  # each runs up to its wait
    return tasks


async def test_a_request_alone_leaves_at_once(kitchen: Kitchen) -> None:
    kitchen.door.set()
    assert await batcher(kitchen)(4) == 8
    assert kitchen.batches == [[4]]


async def test_requests_that_arrive_meanwhile_go_together_in_order(kitchen: Kitchen) -> None:
    one = batcher(kitchen, max_batch=3)
    tasks = await ask(one, 1)
    await until(lambda: kitchen.busy)
    tasks += await ask(one, 2, 3, 4, 5)
    assert one.waiting == 4
    kitchen.door.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10]
    assert kitchen.batches == [[1], [2, 3, 4], [5]]
    assert one.waiting == 0


async def test_no_more_batches_are_under_way_than_allowed(kitchen: Kitchen) -> None:
    one = batcher(kitchen, batches=2)
    tasks: list[asyncio.Task[int]] = []
    for request in range(6):
        tasks += await ask(one, request)
        await asyncio.sleep(0)
    assert (kitchen.busy, one.waiting) == (2, 4)
    kitchen.door.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10]


async def test_a_second_batch_waits_for_company(kitchen: Kitchen) -> None:
    one = batcher(kitchen, max_batch=3, batches=2, max_delay=0.05)
    tasks = await ask(one, 1)
    await until(lambda: kitchen.busy)
    tasks += await ask(one, 2)
    tasks += await ask(one, 3)
    assert one.waiting == 2
    await until(lambda: kitchen.busy == 2)
    kitchen.door.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6]
    assert kitchen.batches == [[1], [2, 3]]


async def test_a_full_batch_does_not_wait(kitchen: Kitchen) -> None:
    one = batcher(kitchen, max_batch=2, batches=3, max_delay=1000)
    tasks = await ask(one, 1)
    await until(lambda: kitchen.busy)
    tasks += await ask(one, 2, 3)
    await until(lambda: kitchen.busy == 2)
    kitchen.door.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6]
    assert kitchen.batches == [[1], [2, 3]]


async def test_one_too_many_is_turned_away_at_once(kitchen: Kitchen) -> None:
    one = batcher(kitchen, max_waiting=2)
    tasks = await ask(one, 1)
    await until(lambda: kitchen.busy)
    tasks += await ask(one, 2, 3)
    with pytest.raises(Overloaded, match="2 requests are waiting"):
        await one(4)
    kitchen.door.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6]
    assert await one(5) == 10


async def test_who_leaves_while_waiting_frees_the_place_and_is_not_asked_for(kitchen: Kitchen) -> None:
    one = batcher(kitchen, max_waiting=1)
    tasks = await ask(one, 1)
    await until(lambda: kitchen.busy)
    [impatient] = await ask(one, 2)
    impatient.cancel()
    await asyncio.wait([impatient])
    assert one.waiting == 0
    tasks += await ask(one, 3)
    kitchen.door.set()
    assert await asyncio.gather(*tasks) == [2, 6]
    assert kitchen.batches == [[1], [3]]


async def test_who_leaves_under_way_does_not_disturb_the_others(kitchen: Kitchen) -> None:
    one = batcher(kitchen)
    tasks = await ask(one, 1, 2)
    await until(lambda: kitchen.busy)
    tasks[0].cancel()
    kitchen.door.set()
    assert await tasks[1] == 4
    assert tasks[0].cancelled()


async def test_a_request_that_fails_fails_alone(kitchen: Kitchen) -> None:
    one = batcher(kitchen)
    kitchen.door.set()
    good, bad = await ask(one, 1, -1)
    assert await good == 2
    with pytest.raises(ValueError, match="-1"):
        await bad
    assert kitchen.batches == [[1, -1]]


async def test_all_of_a_batch_that_fails_hear_of_it_and_the_next_one_goes(kitchen: Kitchen) -> None:
    one = batcher(kitchen)
    kitchen.door.set()
    kitchen.fault = ZeroDivisionError()
    failed = await asyncio.gather(one(1), one(2), return_exceptions=True)
    assert [type(error) for error in failed] == [ZeroDivisionError] * 2
    kitchen.fault = None
    assert await one(3) == 6


async def test_a_cancelled_batch_does_not_cancel_those_who_wait(kitchen: Kitchen) -> None:
    one = batcher(kitchen)
    kitchen.door.set()
    kitchen.fault = asyncio.CancelledError()
    with pytest.raises(Abandoned):
        await one(1)
    kitchen.fault = None
    assert await one(3) == 6


@pytest.mark.parametrize("batches", [1, 2])
async def test_whoever_asks_while_a_worker_ends_is_answered(kitchen: Kitchen, batches: int) -> None:
    one = batcher(kitchen, batches=batches)
    kitchen.door.set()
    for ticks in range(8):
        before = await ask(one, *range(batches))
        await before[-1]
        for _ in range(ticks):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            assert await one(5) == 10


async def test_a_batch_works_for_the_requests_in_it_and_for_no_others() -> None:
    seen: list[tuple[str, ...]] = []
    waits: list[int] = []
    door = asyncio.Event()

    async def run(requests: Sequence[int]) -> list[int | BaseException]:
        seen.append(logs.request_ids())
        await door.wait()
        return list(requests)

    one = Batcher(
        run, max_waiting=9, max_batch=2, batches=1, max_delay=0, on_batch=lambda waited: waits.append(len(waited))
    )

    async def request(number: int) -> int:
        logs.set_request_ids((str(number),))
        return await one(number)

    tasks = [asyncio.create_task(request(number)) for number in range(4)]
    await until(lambda: seen)
    assert one.take_most_waiting() == 4
    door.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3]
    assert seen in ([("0",), ("1", "2"), ("3",)], [("0", "1"), ("2", "3")])
    assert waits == [len(ids) for ids in seen]
    assert one.take_most_waiting() <= 4
    assert one.take_most_waiting() == 0
