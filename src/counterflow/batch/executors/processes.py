"""Several processes of this machine, each with a worker of its own.

Each is spoken to over a pipe of its own: nothing is shared that a killed process could leave
locked, which is what the pools of the standard library cannot bear. A process ends with its parent.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from counterflow.batch.executors.base import (
    Finished,
    Maker,
    Place,
    Result,
    Task,
    WorkersLost,
    attempt,
    begin,
    died,
)
from counterflow.batch.executors.guard import watching
from counterflow.batch.executors.schedule import Schedule
from counterflow.errors import CounterflowError, one_line

READY = "ready"


@dataclass
class Member:
    """A process at a place."""

    process: BaseProcess
    pipe: Connection

    @property
    def end(self) -> str:
        """How it ended."""
        code = self.process.exitcode or 0
        return f"by signal {-code}" if code < 0 else f"with exit code {code}"


@dataclass
class Processes:
    """So many processes, with so many threads each; in a system of GPUs one for each of them."""

    workers: int
    threads: int | None = None
    _crew: dict[int, Member] = field(default_factory=dict, init=False)

    def run(
        self, make: Maker[Task, Result], tasks: Iterable[Task]
    ) -> Generator[Finished[Task, Result], None, None]:
        """As `Executor.run`."""
        schedule = Schedule(tasks, self.workers)
        with ExitStack() as stack:
            watch = stack.enter_context(watching())
            stack.callback(self._stop)
            while schedule.busy:
                self._hand_out(make, schedule, watch)
                for place in self._heard():
                    member = self._crew[place]
                    answer = self._answer(place)
                    if answer is None:
                        given_up = schedule.lost(place, member.end)
                        if given_up is not None:
                            yield died(given_up, member.end)
                    elif isinstance(answer, Finished):
                        schedule.finished(place)
                        yield answer
                    else:
                        schedule.made(place)

    def _hand_out(
        self, make: Maker[Task, Result], schedule: Schedule[Task], watch: Callable[[int], None]
    ) -> None:
        """Give every idle worker a task, and start processes where more are needed.

        A task is sent when its worker waits for it: sending a large one earlier would wait for the
        worker. One that died while it was idle is given none.
        """
        for place, member in self._crew.items():
            task = schedule.take(place) if member.process.is_alive() else None
            if task is not None:
                with suppress(OSError):  # it has died: its end is read as such
                    member.pipe.send(task)
        for place in range(self.workers):
            if schedule.start(place):
                self._crew[place] = _start(make, Place(place, self.threads), watch)

    def _heard(self) -> list[int]:
        """The places that have answered or died."""
        pipes = {each.pipe: n for n, each in self._crew.items()}
        return [pipes[pipe] for pipe in connection.wait(list(pipes))]  # type: ignore[index]

    def _answer(self, place: int) -> Finished[Any, Any] | str | None:
        """What a place sent; None if its process died, and it has none then."""
        member = self._crew[place]
        try:
            answer: Finished[Any, Any] | str | CounterflowError = member.pipe.recv()
        except (EOFError, OSError):
            member.process.join(1)
            member.pipe.close()
            del self._crew[place]
            return None
        except Exception as error:  # it was pickled, and cannot be made again here
            raise WorkersLost(f"a worker's answer cannot be read: {one_line(error)}") from error
        if isinstance(answer, CounterflowError):
            raise answer
        return answer

    def _stop(self) -> None:
        for member in self._crew.values():
            member.process.kill()
        for member in self._crew.values():
            member.process.join()
            member.pipe.close()
        self._crew.clear()


def _start(make: Maker[Any, Any], place: Place, watch: Callable[[int], None]) -> Member:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, place), daemon=True)
    process.start()
    assert process.pid is not None
    watch(process.pid)
    theirs.close()  # so that the process's end is the pipe's end
    with suppress(OSError):  # it has died already, which is told by the pipe
        ours.send(make)
    return Member(process, ours)


def _serve(pipe: Connection, place: Place) -> None:
    """A process's work: task after task, until the pipe or the parent is gone.

    What makes the worker comes by the pipe: to read it imports much, and by then the parent is
    watched.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and stops us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        try:
            worker = begin(pipe.recv(), place)
        except CounterflowError as error:
            pipe.send(error)
            return
        pipe.send(READY)
        while True:
            _tell(pipe, attempt(worker, pipe.recv()))


def _tell(pipe: Connection, finished: Finished[Any, Any]) -> None:
    try:
        pipe.send(finished)
    except OSError:
        raise
    except Exception as error:  # a result that cannot be pickled
        pipe.send(Finished(finished.task, error=one_line(error)))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
