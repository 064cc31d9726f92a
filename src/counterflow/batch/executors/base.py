"""What every executor does: a worker is made once for each place and given task after task."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar, runtime_checkable

from counterflow.backbones.loading import Loading
from counterflow.errors import CounterflowError, one_line

Task = TypeVar("Task")
Result = TypeVar("Result")

ATTEMPTS = 3
"""How often a task is given to a worker: it may be the task that kills it."""


class WorkersLost(CounterflowError):
    """Workers that cannot be kept alive, or a cluster that has gone."""


@dataclass(frozen=True)
class Place:
    """Where a worker runs."""

    index: int = 0
    """Its number among the workers of this machine."""
    threads: int | None = None
    """Threads that it may use on a CPU; None leaves them as they are."""

    def settle(self) -> None:
        """Bound the threads of this process."""
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)

    def loading(self, loading: Loading) -> Loading:
        """On this place's own GPU, where a model that names none would be opened on the first."""
        if loading.device not in (None, "cuda"):
            return loading
        import torch

        count = torch.cuda.device_count()
        return replace(loading, device=f"cuda:{self.index % count}") if count > 1 else loading


Worker = Callable[[Task], Result]
Maker = Callable[[Place], Worker[Task, Result]]
"""Makes a worker where it will work. It must be one that pickle can send there."""


@dataclass(frozen=True)
class Finished(Generic[Task, Result]):
    """A task with its result, or the reason why it has none."""

    task: Task
    result: Result | None = None
    error: str | None = None
    died: bool = False
    """Whether its workers died of it, rather than raised an error."""


@runtime_checkable
class Executor(Protocol):
    """Works through tasks on one or more workers.

    Every task is finished exactly once, in any order; few are taken from `tasks` ahead of time. A
    task whose worker dies is given to another, `ATTEMPTS` times in all, so a worker must bear that
    a task was begun before. An exception of a worker ends its task alone. One that `make` raises
    ends the run: it is raised here, as WorkersLost where it is none of ours. A place whose workers
    die as they are made is left out; where no place is left WorkersLost is raised.
    """

    def run(
        self, make: Maker[Task, Result], tasks: Iterable[Task]
    ) -> Generator[Finished[Task, Result], None, None]:
        """Each task as it is finished. Closing the iterator stops the workers within a second."""
        ...


def begin(make: Maker[Task, Result], place: Place) -> Worker[Task, Result]:
    """A worker. Errors that are not ours become WorkersLost: not all of them can be pickled."""
    try:
        return make(place)
    except CounterflowError:
        raise
    except Exception as error:
        raise WorkersLost(f"a worker cannot be made: {one_line(error)}") from error


def attempt(worker: Worker[Task, Result], task: Task) -> Finished[Task, Result]:
    """A task by a worker; an exception becomes its error."""
    try:
        return Finished(task, worker(task))
    except Exception as error:
        return Finished(task, error=one_line(error))


def died(task: Task, how: str) -> Finished[Task, Result]:
    """A task whose workers died."""
    return Finished(task, error=f"its worker died {ATTEMPTS} times, {how}", died=True)
