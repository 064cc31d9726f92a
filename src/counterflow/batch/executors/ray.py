"""A Ray cluster, or one of this machine's own: Ray Data's pool of actors, a worker in each.

Only this file and `births.py` know of Ray. Rows have the columns `id` and `task`, as Ray Data's
checkpoints want an id column; `Actor` is a class for `map_batches`, in a pipeline of your own too.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import secrets
import sys
import threading
import time
import warnings
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from counterflow.batch.executors.base import (
    ATTEMPTS,
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
from counterflow.batch.executors.births import Births, Retired, permitted
from counterflow.batch.executors.guard import below, guarded
from counterflow.errors import CounterflowError, InputError, one_line

ROWS = 16
"""Most tasks of a block, the unit that Ray Data repeats when an actor dies."""


class Actor:
    """A worker in an actor of Ray Data: batches of `id` and `task` in, of `id` and `result` out."""

    def __init__(self, make: Maker[Any, Any], threads: int | None, births: Any = None) -> None:
        self._broken: CounterflowError | None = None
        try:
            place = None if births is None else permitted(births)
            self._work = begin(make, Place(0, threads))  # Ray shows an actor its own GPU alone
            if births is not None:
                births.made.remote(place)
        except CounterflowError as error:  # raised here it would be tried again for ever
            self._broken = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The results of a batch; `id` and any further column of it stay."""
        answers = [
            self._broken or attempt(self._work, pickle.loads(task)) for task in batch["task"]
        ]
        kept = {name: column for name, column in batch.items() if name != "task"}
        return kept | {"result": [pickle.dumps(each) for each in answers]}


@dataclass(frozen=True)
class RayData:
    """So many actors, with so many threads each, on the cluster at an address."""

    workers: int
    threads: int | None = None
    address: str | None = None
    """None for a cluster of this machine alone, which ends with the run."""
    gpus: float = 0
    """GPUs of each actor."""

    def run(
        self, make: Maker[Task, Result], tasks: Iterable[Task]
    ) -> Generator[Finished[Task, Result], None, None]:
        """As `Executor.run`; rows are small, and all of them are held by the driver."""
        left = identified(tasks)
        if not left:
            return
        ray = _ray(self.address)
        with _cluster(ray, self.address, self.workers):
            # What is missing after the first pass was beside, or is, a task that kills its actor.
            for size in (ROWS, 1):
                retired = None
                with contextlib.closing(self._stream(ray, make, left, size)) as stream:
                    for identity, answer in stream:
                        if isinstance(answer, Retired):
                            retired = answer
                        elif identity in left:
                            del left[identity]
                            yield answer
            if retired is not None:
                raise WorkersLost(str(retired))
        for task in left.values():
            yield died(task, "on Ray")

    def _stream(
        self, ray: Any, make: Maker[Task, Result], left: dict[str, Task], size: int
    ) -> Generator[tuple[str, Finished[Task, Result] | Retired], None, None]:
        """A pass over what is left; Retired for a task whose place can make no worker any more."""
        if not left:
            return
        from ray.data import ActorPoolStrategy

        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")  # named ones lack both
        births = ray.remote(num_cpus=0, max_restarts=-1)(Births).remote()
        rows = [{"id": identity, "task": pickle.dumps(task)} for identity, task in left.items()]
        blocks = max(-(-len(rows) // size), min(len(rows), 4 * self.workers))
        actors = min(self.workers, blocks)
        results = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
            Actor,
            fn_constructor_args=(make, self.threads, births),
            batch_size=1,
            compute=ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=2),
            num_cpus=1 if self.threads is None else self.threads,
            num_gpus=self.gpus or None,
            max_restarts=-1,
            max_task_retries=ATTEMPTS - 1,
        )
        try:
            with contextlib.closing(iter(results.iter_rows())) as answers:
                for row in answers:
                    answer = pickle.loads(row["result"])
                    if isinstance(answer, Exception) and not isinstance(answer, Retired):
                        raise answer
                    yield row["id"], answer
        except ray.exceptions.RayError as error:
            raise WorkersLost(
                f"Ray's cluster has gone ({one_line(error):.200}): start it and run this again"
            ) from None


def identified(tasks: Iterable[Task]) -> dict[str, Task]:
    """Tasks by digests of them: a row's id must stay when the rows before it are done."""
    named: dict[str, Task] = {}
    twins: dict[str, int] = {}
    for task in tasks:
        identity = hashlib.sha256(pickle.dumps(task)).hexdigest()
        twins[identity] = twins.get(identity, 0) + 1
        named[f"{identity}-{twins[identity]}"] = task
    return named


def _ray(address: str | None) -> Any:
    """The library. What it reads of the environment must be there before it is imported.

    A program that has imported it answers for its own settings.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ours = "ray" not in sys.modules
    if address is None and ours:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's switch for loopback alone
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install 'ray[data]'") from None
    if ours:  # it prints of dead workers to the standard output, which is the caller's
        ray._private.worker._worker_logs_enabled = False
    return ray


@contextlib.contextmanager
def _cluster(ray: Any, address: str | None, workers: int) -> Iterator[None]:
    """A connection to a cluster, or a cluster of this machine: on loopback, with its token on."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        options |= {
            "num_cpus": max(workers, os.cpu_count() or 1),
            "include_dashboard": False,
        }
    before = below(os.getpid())
    try:
        ray.init(address=address or "local", **options)
    except Exception as error:
        where = address or "this machine"
        raise WorkersLost(f"no Ray cluster at {where} ({one_line(error):.200})") from None
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_consecutive_actor_init_deaths = -1  # `Births` counts them
    context.max_errored_blocks = -1  # a block that is lost is asked for again, row by row
    threads = threading.enumerate()
    with guarded(before) if address is None else contextlib.nullcontext():
        try:
            yield
        finally:
            _ended(threads)
            ray.shutdown()


def _ended(before: Collection[threading.Thread]) -> None:
    """Wait half a second for Ray Data's threads, which end by themselves once its rows are closed.

    Ray ends a process in which one of them asks for a row after the shutdown, without a word.
    """
    end = time.monotonic() + 0.5
    for thread in threading.enumerate():
        if thread not in before:
            thread.join(max(0.0, end - time.monotonic()))
