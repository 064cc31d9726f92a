"""One worker, in this process."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from counterflow.batch.executors.base import Finished, Maker, Place, Result, Task, attempt, begin


@dataclass(frozen=True)
class Inline:
    """Works through the tasks one after the other."""

    place: Place = field(default_factory=Place)

    def run(
        self, make: Maker[Task, Result], tasks: Iterable[Task]
    ) -> Generator[Finished[Task, Result], None, None]:
        """As `Executor.run`; a worker that kills its process kills this one."""
        worker = None
        with _threads_given_back(self.place):
            for task in tasks:
                worker = worker or begin(make, self.place)
                yield attempt(worker, task)


@contextmanager
def _threads_given_back(place: Place) -> Iterator[None]:
    """What the worker settles is of the run: this process has other work too."""
    if place.threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
