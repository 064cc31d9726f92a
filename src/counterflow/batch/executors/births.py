"""Counts the workers of Ray that die as they are made: Ray makes them anew without end."""

from __future__ import annotations

import time
from typing import Any

from counterflow.batch.executors.base import WorkersLost
from counterflow.batch.executors.schedule import STILLBORN


class Births:
    """What became of each place's last workers; itself an actor, which all of them tell."""

    def __init__(self) -> None:
        self._stillborn: dict[str, int] = {}
        self._proven: set[str] = set()

    def begin(self, place: str) -> bool:
        """A worker is to be made; whether it may be, after those that died so far."""
        self._stillborn[place] = self._stillborn.get(place, -1) + 1
        return self._stillborn[place] < STILLBORN

    def made(self, place: str) -> None:
        """A worker is ready."""
        self._stillborn[place] = -1
        self._proven.add(place)

    def proven(self, place: str) -> bool:
        """Whether a worker was ready there at any time."""
        return place in self._proven

    def over(self) -> bool:
        """Whether no place is left that may make a worker."""
        return all(count >= STILLBORN for count in self._stillborn.values())


class Retired(WorkersLost):
    """A place where workers die as they are made."""


def permitted(births: Any) -> str:
    """The place of this actor of Ray, as soon as a worker may be made there.

    A place where too many have died waits for the others, and raises WorkersLost where all have
    given up. But one that had a worker has tasks, which Ray gives to no other: Retired is raised,
    and they are sent back.
    """
    import ray

    place = str(ray.get_runtime_context().get_actor_id())
    if ray.get(births.begin.remote(place)):
        return place
    why = "workers die as they start, on Ray: is there memory for so many? take fewer --workers"
    if ray.get(births.proven.remote(place)):
        raise Retired(why)
    while not ray.get(births.over.remote()):
        time.sleep(1)
    raise WorkersLost(why)
