"""One worker, in this process."""

from __future__ import annotations

from collections.abc import Generator, Iterable
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
        for task in tasks:
            worker = worker or begin(make, self.place)
            yield attempt(worker, task)
