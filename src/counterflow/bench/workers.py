"""A benchmark's tasks by an executor: each worker is an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from counterflow.batch.executors.base import Executor, Place
from counterflow.bench.engine import Outcome, Setup, Task, engine


@dataclass(frozen=True)
class Engines:
    """Makes engines."""

    setup: Setup

    def __call__(self, place: Place) -> Callable[[Task], list[Outcome]]:
        """Load one at a place."""
        place.settle()
        alone = engine(replace(self.setup, loading=place.loading(self.setup.loading)))
        return lambda task: list(alone.run(task))


def outcomes(tasks: Sequence[Task], setup: Setup, executor: Executor) -> Iterator[list[Outcome]]:
    """Each task's outcomes as it is done, in any order.

    Where workers died of a task of several attempts, each of those is tried alone.
    """
    while tasks:
        alone: list[Task] = []
        for finished in executor.run(Engines(setup), tasks):
            if finished.result is not None:
                yield finished.result
            elif finished.died and len(finished.task) > 1:
                alone += [(attempt,) for attempt in finished.task]
            else:
                yield [Outcome(attempt, error=finished.error) for attempt in finished.task]
        tasks = alone
