"""Who does what: tasks are given to workers, and those of workers that died to others.

Nothing here knows of processes or of time, so a simulation can drive it as an executor does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic

from counterflow.batch.executors.base import ATTEMPTS, Task, WorkersLost

STILLBORN = 5
"""Workers of each place that may die in a row as they are made."""


class Schedule(Generic[Task]):
    """The tasks of a run and the places that work on them."""

    def __init__(self, tasks: Iterable[Task], places: int) -> None:
        self.places = places
        self._coming = iter(tasks)
        self._again = deque[tuple[Task, int]]()
        self._held: dict[int, tuple[Task, int]] = {}
        self._stillborn = 0

    @property
    def busy(self) -> bool:
        """Whether any place has a task."""
        return bool(self._held)

    def has(self, place: int) -> bool:
        """Whether a place has a task."""
        return place in self._held

    def take(self, place: int) -> Task | None:
        """The next task, which is then the place's; None where there is none at present."""
        entry = self._again.popleft() if self._again else next(((t, 0) for t in self._coming), None)
        if entry is None:
            return None
        task, begun = entry
        self._held[place] = task, begun + 1
        return task

    def made(self) -> None:
        """A worker is ready."""
        self._stillborn = 0

    def finished(self, place: int) -> None:
        """A place has done its task."""
        self._stillborn = 0
        del self._held[place]

    def lost(self, place: int, how: str, ready: bool) -> Task | None:
        """A place's worker died, `ready` or while it was made; its task if that is given up.

        Raises WorkersLost where workers die one after the other as they are made.
        """
        task, begun = self._held.pop(place)
        if not ready:
            self._stillborn += 1
            if self._stillborn >= STILLBORN * self.places:
                raise WorkersLost(
                    f"workers die as they start, {how}: "
                    "is there memory for so many? take fewer --workers"
                )
            begun -= 1
        elif begun >= ATTEMPTS:
            return task
        self._again.append((task, begun))
        return None
