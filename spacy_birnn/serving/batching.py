"""The queries of many clients, gathered for one thread."""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Deque, List, NamedTuple, Sequence


class Busy(Exception):
    """There is no room for more queries."""


class _Job(NamedTuple):
    query: Any
    answer: "asyncio.Future[Any]"


class Batcher:
    """Hands queries to a function on a thread of its own, those together that have come while it
    was busy. A query whose answer nobody waits for any more (its future is cancelled) is dropped.

    run (Callable[[List[Any]], List[Any]]): Gives the answer to each of some queries.
    size_of (Callable[[Any], int]): How large a query is.
    batch_size (int): How many queries it gets at once, at most.
    max_size (int): How large they are together, at most; a larger one comes alone.
    max_waiting (int): How many may wait.
    """

    def __init__(
        self,
        run: Callable[[List[Any]], List[Any]],
        *,
        size_of: Callable[[Any], int],
        batch_size: int,
        max_size: int,
        max_waiting: int,
    ):
        self._run = run
        self._size_of = size_of
        self._batch_size = batch_size
        self._max_size = max_size
        self._max_waiting = max_waiting
        self._jobs: Deque[_Job] = deque()
        self._filled = asyncio.Event()

    @property
    def n_waiting(self) -> int:
        """How many queries wait for their turn."""
        return sum(not job.answer.done() for job in self._jobs)

    def submit(self, queries: Sequence[Any]) -> "List[asyncio.Future[Any]]":
        """Put queries in the queue, all or none.

        RETURNS (List[asyncio.Future[Any]]): The answer to each, once it is there.
        RAISES (Busy): If there is no room for them.
        """
        if self.n_waiting + len(queries) > self._max_waiting:
            raise Busy
        loop = asyncio.get_running_loop()
        jobs = [_Job(query, loop.create_future()) for query in queries]
        self._jobs.extend(jobs)
        self._filled.set()
        return [job.answer for job in jobs]

    async def work(self) -> None:
        """Answer queries, until this is cancelled. What is being answered then is finished."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="pipeline") as thread:
            while True:
                await self._filled.wait()
                jobs = self._next()
                if not jobs:
                    self._filled.clear()
                    continue
                queries = [job.query for job in jobs]
                try:
                    answers = await loop.run_in_executor(thread, self._run, queries)
                except Exception as error:
                    for job in jobs:
                        if not job.answer.done():
                            job.answer.set_exception(error)
                else:
                    for job, answer in zip(jobs, answers):
                        if not job.answer.done():
                            job.answer.set_result(answer)

    def _next(self) -> List[_Job]:
        jobs: List[_Job] = []
        left = self._max_size
        while self._jobs and len(jobs) < self._batch_size:
            job = self._jobs[0]
            if not job.answer.done():
                left -= self._size_of(job.query)
                if jobs and left < 0:
                    break
                jobs.append(job)
            self._jobs.popleft()
        return jobs
