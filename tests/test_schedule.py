"""Who does what: tasks, places, and workers that die at any time; no processes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch

from counterflow.backbones.loading import Loading
from counterflow.batch.executors.base import ATTEMPTS, Finished, Place, WorkersLost
from counterflow.batch.executors.ray import RayData
from counterflow.batch.executors.schedule import STILLBORN, Schedule
from counterflow.batch.items import Recipe
from counterflow.bench import workers
from counterflow.bench.engine import Attempt, Outcome, Setup, Task, condition
from counterflow.bench.sets.cases import rendered
from counterflow.bench.sets.toypie import scene_edits
from counterflow.cli import workers as cli_workers
from counterflow.cli.workers import Works, chosen
from counterflow.methods.registry import method


def ready(schedule: Schedule[str], *places: int) -> None:
    for place in places:
        assert schedule.start(place)
        schedule.made(place)


def test_no_more_workers_than_tasks() -> None:
    """Nor are more tasks taken than workers are there or being made."""
    coming = iter("abcd")
    schedule = Schedule(coming, 8)
    assert [place for place in range(8) if schedule.start(place)] == [0, 1, 2, 3]
    assert not schedule.start(0)
    few = Schedule(coming := iter("abcdefgh"), 2)
    ready(few, 0, 1)
    assert [few.take(0), few.take(1), few.take(0)] == ["a", "b", None] and next(coming) == "c"


def test_a_task_goes_to_who_is_ready() -> None:
    """Not to a worker that is still being made: nothing waits for that one."""
    schedule = Schedule("ab", 2)
    assert schedule.start(0)
    ready(schedule, 1)
    for task in "ab":
        assert schedule.take(0) is None and schedule.take(1) == task
        schedule.finished(1)
    assert not schedule.busy


def test_a_task_is_tried_at_another_place() -> None:
    """Where there is one; a place where its worker died gets others meanwhile."""
    schedule = Schedule("ab", 2)
    ready(schedule, 0)
    assert schedule.take(0) == "a"
    assert schedule.lost(0, "by signal 9") is None
    ready(schedule, 0)
    assert schedule.take(0) == "b"
    schedule.finished(0)
    assert schedule.take(0) is None and schedule.busy
    ready(schedule, 1)
    assert schedule.take(1) == "a" and schedule.lost(1, "by signal 9") is None
    assert schedule.take(0) == "a", "it died everywhere"
    assert schedule.lost(0, "by signal 9") == "a" and not schedule.busy
    assert ATTEMPTS == 3


def test_an_idle_worker_that_dies() -> None:
    """No task is the worse for it."""
    schedule = Schedule("a", 1)
    for _ in range(2 * (ATTEMPTS + STILLBORN)):
        ready(schedule, 0)
        assert schedule.lost(0, "by signal 9") is None
    ready(schedule, 0)
    assert schedule.take(0) == "a"


def test_a_place_that_is_left_out() -> None:
    """After so many workers in a row; the last one's end is the run's, and its task is not lost."""
    schedule = Schedule("ab", 2)
    for _ in range(STILLBORN - 1):
        assert schedule.start(0) and schedule.lost(0, "by signal 9") is None
    ready(schedule, 0)  # one that is made begins the count anew
    schedule.lost(0, "by signal 9")
    for _ in range(STILLBORN):
        assert schedule.start(0) and schedule.lost(0, "by signal 9") is None
    assert not schedule.start(0)
    ready(schedule, 1)
    assert schedule.take(1) == "a" and schedule.lost(1, "by signal 9") is None
    ready(schedule, 1)
    assert schedule.take(1) == "a", "there is no other place"
    schedule.lost(1, "by signal 9")
    for _ in range(STILLBORN - 1):
        assert schedule.start(1) and schedule.lost(1, "with exit code 7") is None
    assert schedule.start(1)
    with pytest.raises(WorkersLost, match="exit code 7"):
        schedule.lost(1, "with exit code 7")


@pytest.mark.parametrize("seed", range(60))
def test_every_task_ends_once(seed: int) -> None:
    """Whatever dies when, somebody always has something to do until all tasks have ended."""
    chance = random.Random(seed)
    places, tasks = chance.randint(1, 5), chance.randint(1, 30)
    schedule = Schedule(range(tasks), places)
    making, idle, held, ended = set[int](), set[int](), dict[int, int](), list[int]()
    while schedule.busy:
        for place in list(idle):
            task = schedule.take(place)
            if task is not None:
                idle.discard(place)
                held[place] = task
        making |= {place for place in range(places) if schedule.start(place)}
        assert making or held, "nobody works, and the run is not over"
        place = chance.choice(sorted([*making, *held, *idle]))
        dies = chance.random() < 0.3
        if dies:
            try:
                given_up = schedule.lost(place, "by chance")
            except WorkersLost:
                return
            if given_up is not None:
                ended.append(given_up)
            making.discard(place)
            idle.discard(place)
            held.pop(place, None)
        elif place in making:
            making.discard(place)
            schedule.made(place)
            idle.add(place)
        elif place in held:
            schedule.finished(place)
            ended.append(held.pop(place))
            idle.add(place)
    assert sorted(ended) == list(range(tasks))


def test_each_worker_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a batch and of a bench; a GPU that was named is kept, and so is a CPU."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in (None, "cuda"):
        devices = [Place(n).loading(Loading(device=device)).device for n in range(3)]
        assert devices == ["cuda:0", "cuda:1", "cuda:0"]
    assert Place(1).loading(Loading(device="cuda:0")).device == "cuda:0"
    assert Place(1).loading(Loading(device="cpu")).device == "cpu"
    opened: list[Setup] = []
    monkeypatch.setattr(workers, "engine", opened.append)
    workers.Engines(Setup(judged=False))(Place(1))
    assert opened == [Setup(Loading(device="cuda:1"), judged=False)]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert Place(3).loading(Loading()) == Loading()


class Deadly:
    """An executor of which a task that holds the third case kills every worker."""

    def run(self, make: object, tasks: Iterable[Task]) -> Iterator[Any]:
        for task in tasks:
            if any(attempt.sharing == 3 for attempt in task):
                yield Finished(task, error="its worker died 3 times", died=True)
            else:
                yield Finished(task, [Outcome(attempt) for attempt in task])


def test_a_deadly_attempt_of_a_bench() -> None:
    """It fails alone: what shares its inversion is tried without it."""
    case, how = rendered(scene_edits(1, 40)[0]), condition("ftedit")
    one, two, three, four = (Attempt(case, how, number) for number in (1, 2, 3, 4))
    executor: Any = Deadly()
    parts = workers.outcomes([(one,), (two, three, four)], Setup(), executor)
    errors = {each.attempt.sharing: each.error for part in parts for each in part}
    assert errors == {1: None, 2: None, 3: "its worker died 3 times", 4: None}


def test_a_cluster_with_gpus_and_a_head_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device that is named is the cluster's; Ray counts no GPU of Apple's."""
    far = chosen("ray", 4, None, "ray://head:10001", Loading(device="cuda"))
    assert far == Works(RayData(4, None, "ray://head:10001", 1.0), None)
    recipe = Recipe(method("ftedit"), Loading(device="cuda")).resolved(elsewhere=True)
    assert (recipe.loading.device, recipe.loading.dtype) == ("cuda", "bfloat16")
    monkeypatch.setattr(cli_workers, "device_of", lambda *_: "mps")
    assert chosen("ray", 1, None, None, Loading()).executor == RayData(1, None, None, 0.0)
