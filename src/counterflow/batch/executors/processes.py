"""Several processes of this machine, each with a worker of its own.

Each is spoken to over a pipe of its own: nothing is shared that a killed process could leave
locked, which is what the pools of the standard library cannot bear. A process ends with its parent.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic

from counterflow.batch.executors.base import (
    ATTEMPTS,
    Finished,
    Maker,
    Place,
    Result,
    Task,
    WorkersLost,
    attempt,
    died,
)

STILLBORN = 5
"""Workers of each place that may die in a row as they are made."""
READY = "ready"


@dataclass
class Member(Generic[Task]):
    """A process and the task that it has."""

    process: BaseProcess
    pipe: Connection
    place: Place
    task: tuple[Task, int] | None = None
    """The task and how often it was begun."""
    ready: bool = False
    """Whether its worker is made."""


@dataclass
class Processes:
    """So many processes, with so many threads each; in a system of GPUs one for each of them."""

    workers: int
    threads: int | None = None
    _crew: list[Member[Any]] = field(default_factory=list, init=False)

    def run(
        self, make: Maker[Task, Result], tasks: Iterable[Task]
    ) -> Iterator[Finished[Task, Result]]:
        """As `Executor.run`."""
        coming, again = iter(tasks), deque[tuple[Task, int]]()
        stillborn = 0
        try:
            while True:
                self._hand_out(make, coming, again)
                busy = [each for each in self._crew if each.task is not None]
                if not busy:
                    return
                for member in _ready(busy):
                    assert member.task is not None
                    task, begun = member.task
                    answer = self._answer(member)
                    if answer is not None:
                        stillborn = 0
                        if isinstance(answer, Finished):
                            member.task = None
                            yield answer
                        continue
                    stillborn += not member.ready
                    if stillborn >= STILLBORN * self.workers:
                        raise WorkersLost(
                            f"workers die as they start, {_how(member)}: "
                            "is there memory for so many? take fewer --workers"
                        )
                    if begun < ATTEMPTS or not member.ready:
                        again.append((task, begun - (not member.ready)))
                    else:
                        yield died(task, _how(member))
        finally:
            self._stop()

    def _hand_out(
        self,
        make: Maker[Task, Result],
        coming: Iterator[Task],
        again: deque[tuple[Task, int]],
    ) -> None:
        """Give every idle place a task, in a process that is started where there is none."""
        for index in range(self.workers):
            member = next((each for each in self._crew if each.place.index == index), None)
            if member is not None and member.task is not None:
                continue
            entry = again.popleft() if again else next(((task, 0) for task in coming), None)
            if entry is None:
                return
            if member is None:
                member = _start(make, Place(index, self.threads))
                self._crew.append(member)
            member.task = entry[0], entry[1] + 1
            with suppress(OSError):  # it has died: its end is read as such
                member.pipe.send(entry[0])

    def _answer(self, member: Member[Task]) -> Finished[Task, Any] | str | None:
        """What a member sent; None if it died, and it is then no member any more."""
        try:
            answer: Finished[Task, Any] | str | BaseException = member.pipe.recv()
        except (EOFError, OSError):
            member.process.join(1)
            self._crew.remove(member)
            member.pipe.close()
            return None
        if isinstance(answer, BaseException):
            raise answer
        member.ready = True
        return answer

    def _stop(self) -> None:
        for member in self._crew:
            member.process.kill()
        for member in self._crew:
            member.process.join()
            member.pipe.close()
        self._crew.clear()


def _ready(busy: list[Member[Task]]) -> list[Member[Task]]:
    """The members that have answered or died."""
    ready = connection.wait([each.pipe for each in busy])
    return [each for each in busy if each.pipe in ready]


def _how(member: Member[Task]) -> str:
    code = member.process.exitcode or 0
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


def _start(make: Maker[Task, Result], place: Place) -> Member[Task]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make, place), daemon=True)
    process.start()
    theirs.close()  # so that the process's end is the pipe's end
    return Member(process, ours, place)


def _serve(pipe: Connection, make: Maker[Any, Any], place: Place) -> None:
    """A process's work: task after task, until the pipe or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and stops us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        try:
            worker = make(place)
        except Exception as error:
            pipe.send(error)
            return
        pipe.send(READY)
        while True:
            pipe.send(attempt(worker, pipe.recv()))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
