"""Queries are gathered, and none is lost."""

import asyncio
import threading

import pytest

from spacy_birnn.serving.batching import Batcher, Busy

SETTINGS = {"size_of": lambda _: 1, "batch_size": 4, "max_size": 4, "max_waiting": 8}


class Worker:
    """Doubles numbers. It begins when it is let, and keeps what it was given."""

    def __init__(self):
        self.begin = threading.Event()
        self.batches = []

    def __call__(self, numbers):
        self.batches.append(numbers)
        assert self.begin.wait(60)
        if "fault" in numbers:
            raise ValueError("not a number")
        return [2 * number for number in numbers]


def run(test, **settings):
    """Run a coroutine with a batcher at work. All that it does is done in one thread."""

    async def main():
        worker = Worker()
        batcher = Batcher(worker, **{**SETTINGS, **settings})
        task = asyncio.create_task(batcher.work())
        try:
            await test(batcher, worker)
        finally:
            worker.begin.set()
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_what_comes_meanwhile_is_taken_together():
    async def test(batcher, worker):
        first = batcher.submit([1])
        await until(lambda: worker.batches)
        rest = [future for i in range(2, 8) for future in batcher.submit([i])]
        assert batcher.n_waiting == 6
        worker.begin.set()
        assert await asyncio.gather(*first, *rest) == [2, 4, 6, 8, 10, 12, 14]
        assert worker.batches == [[1], [2, 3, 4, 5], [6, 7]] and batcher.n_waiting == 0

    run(test)


def test_what_nobody_waits_for_is_dropped():
    async def test(batcher, worker):
        first = batcher.submit([1])
        await until(lambda: worker.batches)
        gone, kept = batcher.submit([2, 3, 4]), batcher.submit([5])
        for future in (*first, *gone):
            future.cancel()
        assert batcher.n_waiting == 1
        worker.begin.set()
        assert await asyncio.gather(*kept) == [10]
        assert worker.batches == [[1], [5]]

    run(test)


def test_large_ones_are_not_taken_together():
    async def test(batcher, worker):
        first = batcher.submit([1])
        await until(lambda: worker.batches)
        gone, *rest = batcher.submit([5, 5, 2, 20, 3, 4, 4])
        gone.cancel()
        worker.begin.set()
        await asyncio.gather(*first, *rest)
        # One that is larger than a batch may be comes alone
        assert worker.batches == [[1], [5, 2], [20], [3, 4], [4]]

    run(test, size_of=lambda number: number, max_size=10)


def test_there_is_room_for_so_many_and_no_more():
    async def test(batcher, worker):
        first = batcher.submit([1])
        await until(lambda: worker.batches)
        waiting = batcher.submit([2, 3])
        with pytest.raises(Busy):
            batcher.submit([4, 5])
        assert batcher.n_waiting == 2
        # Those whose client has gone take no room
        waiting[0].cancel()
        more = batcher.submit([6, 7])
        worker.begin.set()
        assert await asyncio.gather(*first, waiting[1], *more) == [2, 6, 12, 14]

    run(test, max_waiting=3)


def test_a_fault_ends_its_batch_and_nothing_else():
    async def test(batcher, worker):
        worker.begin.set()
        faults = batcher.submit(["fault", 1])
        found = await asyncio.gather(*faults, return_exceptions=True)
        assert [str(one) for one in found] == ["not a number"] * 2
        assert await asyncio.gather(*batcher.submit([3])) == [6]

    run(test)


def test_what_is_being_answered_at_the_end_is_finished():
    async def main():
        worker = Worker()
        batcher = Batcher(worker, **SETTINGS)
        task = asyncio.create_task(batcher.work())
        batcher.submit([1])
        await until(lambda: worker.batches)
        threading.Timer(0.05, worker.begin.set).start()
        task.cancel()
        await asyncio.wait([task])
        assert worker.begin.is_set()
        assert not any(thread.name.startswith("pipeline") for thread in threading.enumerate())

    asyncio.run(main())
