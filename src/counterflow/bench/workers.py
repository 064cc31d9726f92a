"""A benchmark's tasks by an executor: each worker is an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from counterflow.batch.executors.base import Executor, Place
from counterflow.bench.engine import Outcome, Setup, Task, engine


@dataclass(frozen=True)
class Engines:
    """Makes engines."""

    setup: Setup

    def __call__(self, place: Place) -> Callable[[Task], list[Outcome]]:
        """Load one at a place."""
        place.settle()
        alone = engine(self.setup)
        return lambda task: list(alone.run(task))


def outcomes(tasks: Sequence[Task], setup: Setup, executor: Executor) -> Iterator[list[Outcome]]:
    """Each task's outcomes as it is done, in any order."""
    for finished in executor.run(Engines(setup), tasks):
        if finished.result is not None:
            yield finished.result
        else:
            yield [Outcome(attempt, error=finished.error) for attempt in finished.task]
