"""Who does what: tasks are given to workers, and those of workers that died to others.

A worker is made at a place, is given task after task there, and may die at any time. Nothing here
knows of processes or of time, so a simulation can drive it as an executor does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic

from counterflow.batch.executors.base import ATTEMPTS, Task, WorkersLost

STILLBORN = 5
"""Workers of a place that may die in a row as they are made; then it is left out."""


@dataclass
class Entry(Generic[Task]):
    """A task, and where workers died of it."""

    task: Task
    deaths: int = 0
    places: set[int] = field(default_factory=set)


class Schedule(Generic[Task]):
    """The tasks of a run and the places that work on them."""

    def __init__(self, tasks: Iterable[Task], places: int) -> None:
        self._coming = iter(tasks)
        self._fresh = deque[Entry[Task]]()
        self._again = deque[Entry[Task]]()
        self._held: dict[int, Entry[Task]] = {}
        self._stillborn = dict.fromkeys(range(places), 0)
        """The places in use, with how many of their last workers died as they were made."""
        self._making: set[int] = set()
        self._ready: set[int] = set()

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self._held or self._again or self._ahead(1))

    def start(self, place: int) -> bool:
        """Whether a worker is to be made at a place: it has none, and there is work for one more.

        To be asked after `take` for those that are ready. Workers that are being made are counted
        as having a task each, but are given one when they are ready: no task waits for them.
        """
        if place not in self._stillborn or place in self._making or place in self._ready:
            return False
        waiting = sum(self._suits(entry, place) for entry in self._again)
        if waiting <= len(self._making):
            waiting += self._ahead(1 + len(self._making) - waiting)
        if waiting <= len(self._making):
            return False
        self._making.add(place)
        return True

    def made(self, place: int) -> None:
        """A place's worker is ready."""
        self._making.discard(place)
        self._ready.add(place)
        self._stillborn[place] = 0

    def take(self, place: int) -> Task | None:
        """The next task of a place whose worker is ready and idle; None where there is none."""
        if place not in self._ready or place in self._held:
            return None
        entry = next((each for each in self._again if self._suits(each, place)), None)
        if entry is not None:
            self._again.remove(entry)
        elif self._ahead(1):
            entry = self._fresh.popleft()
        else:
            return None
        self._held[place] = entry
        return entry.task

    def finished(self, place: int) -> None:
        """A place has done its task."""
        del self._held[place]

    def lost(self, place: int, how: str) -> Task | None:
        """A place's worker died; its task if that is given up.

        Raises WorkersLost where workers die as they are made, and no place is left.
        """
        if place in self._making:
            self._stillbirth(place, how)
        self._ready.discard(place)
        entry = self._held.pop(place, None)
        if entry is None:
            return None
        entry.deaths += 1
        entry.places.add(place)
        if entry.deaths >= ATTEMPTS:
            return entry.task
        self._again.append(entry)
        return None

    def _stillbirth(self, place: int, how: str) -> None:
        self._making.discard(place)
        self._stillborn[place] += 1
        if self._stillborn[place] >= STILLBORN:
            del self._stillborn[place]
        if not self._stillborn:
            raise WorkersLost(
                f"workers die as they start, {how}: "
                "is there memory for so many? take fewer --workers"
            )

    def _suits(self, entry: Entry[Task], place: int) -> bool:
        """Whether a place may try a task: one where a worker died of it only if all are such."""
        return place not in entry.places or entry.places.issuperset(self._stillborn)

    def _ahead(self, count: int) -> int:
        """Have so many fresh tasks at hand, or as many as there are; how many."""
        self._fresh.extend(map(Entry, islice(self._coming, max(0, count - len(self._fresh)))))
        return min(count, len(self._fresh))
