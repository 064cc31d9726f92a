"""Tasks, one after the other or on several processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import torch

from counterflow.bench.engine import Engine, Outcome, Setup, Task, engine

_ENGINE: Engine | None = None
"""A worker process's own."""


def outcomes(tasks: Sequence[Task], setup: Setup, workers: int) -> Iterator[list[Outcome]]:
    """Each task's outcomes as it is done, in any order.

    With several workers each is a process with its share of the cores; a small model uses several
    cores far better so than by threads.
    """
    if not tasks:
        return
    if workers <= 1:
        alone = engine(setup)
        for task in tasks:
            yield list(alone.run(task))
        return
    threads = max(1, torch.get_num_threads() // workers)
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (setup, threads)) as pool:
        waiting = [pool.submit(_run, task) for task in tasks]
        try:
            for done in as_completed(waiting):
                yield done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(setup: Setup, threads: int) -> None:
    global _ENGINE
    torch.set_num_threads(threads)
    _ENGINE = engine(setup)


def _run(task: Task) -> list[Outcome]:
    assert _ENGINE is not None, "a worker begins with an engine"
    return list(_ENGINE.run(task))
