"""One contract, three executors: in this process, on several, on Ray."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch

from counterflow.batch.executors.base import ATTEMPTS, Executor, Place, WorkersLost
from counterflow.batch.executors.inline import Inline
from counterflow.batch.executors.processes import Processes
from counterflow.errors import ModelError
from kills import PATHS, ended

TESTS = Path(__file__).parent


def squares(place: Place) -> Callable[[int], int]:
    """A worker that cannot do 13."""

    def work(n: int) -> int:
        if n == 13:
            raise ValueError("thirteen\nis unlucky")
        return n * n

    return work


def no_model(place: Place) -> Callable[[int], int]:
    raise ModelError("no such model")


class Deadly:
    """Workers that kill themselves: of task 3 always, of task 5 the first time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, place: Place) -> Callable[[int], int]:
        return self.work

    def work(self, n: int) -> int:
        first = not (self.folder / str(n)).exists()
        with (self.folder / str(n)).open("a") as file:
            file.write("begun\n")
        if n == 3 or (n == 5 and first):
            os.kill(os.getpid(), signal.SIGKILL)
        return n * n


def born_dead(place: Place) -> Callable[[int], int]:
    os._exit(7)


@pytest.fixture(params=["inline", "processes", "ray"])
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Executor:
    if request.param == "inline":
        return Inline()
    if request.param == "processes":
        return Processes(2, 1)
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    from counterflow.batch.executors.ray import RayData

    monkeypatch.setenv("PYTHONPATH", PATHS)
    return RayData(1 if request.param == "ray, one worker" else 2, 1)


@pytest.mark.fault("3")
def test_every_task_once(executor: Executor) -> None:
    """Each is finished once, in any order; an error ends its own task alone, in one line."""
    finished = list(executor.run(squares, range(20)))
    assert sorted(each.task for each in finished) == list(range(20))
    results = {each.task: each.result for each in finished}
    assert results == {n: n * n if n != 13 else None for n in range(20)}
    errors = {each.task: (each.error, each.died) for each in finished if each.error is not None}
    assert errors == {13: ("ValueError: thirteen", False)}
    assert list(executor.run(squares, [])) == []


@pytest.mark.parametrize("executor", ["inline", "processes", "ray, one worker"], indirect=True)
def test_a_model_that_cannot_be_loaded(executor: Executor) -> None:
    """The run ends with the error itself."""
    with pytest.raises(ModelError, match="no such model"):
        list(executor.run(no_model, range(3)))


@pytest.mark.fault("F5")
@pytest.mark.parametrize("executor", ["processes", "ray"], indirect=True)
def test_workers_that_die(executor: Executor, tmp_path: Path) -> None:
    """A task outlives its worker; one that kills every worker is given up, the others are not."""
    finished = {each.task: each for each in executor.run(Deadly(tmp_path), range(8))}
    assert sorted(finished) == list(range(8))
    assert [n for n, each in finished.items() if each.died] == [3]
    assert finished[3].error is not None and f"died {ATTEMPTS} times" in finished[3].error
    assert all(each.result == n * n for n, each in finished.items() if n != 3)
    assert (tmp_path / "5").read_text() == "begun\n" * 2


@pytest.mark.fault("F30")
@pytest.mark.parametrize("executor", ["processes", "ray, one worker"], indirect=True)
def test_workers_that_cannot_start(executor: Executor) -> None:
    """They are not started for ever."""
    with pytest.raises(WorkersLost, match="workers die as they start"):
        list(executor.run(born_dead, range(3)))


class Odd(Exception):
    """It can neither be pickled nor made again."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(f"no such repository\n{reason}")
        self.reason = lambda: reason


def odd(place: Place) -> Callable[[int], int]:
    raise Odd(reason="gone")


@pytest.mark.parametrize("executor", ["inline", "processes", "ray, one worker"], indirect=True)
def test_an_error_of_another_library_as_a_worker_is_made(executor: Executor) -> None:
    """The run ends with its reason, whatever class it is of."""
    with pytest.raises(WorkersLost, match=r"cannot be made: Odd: no such repository$"):
        list(executor.run(odd, range(3)))


def lambdas(place: Place) -> Callable[[int], Any]:
    return lambda n: (lambda: n) if n == 1 else n


def test_the_threads_of_this_process_are_given_back() -> None:
    """What a worker here settles is of its run alone, also of one that is left halfway."""
    here = torch.get_num_threads()

    def settled(place: Place) -> Callable[[int], int]:
        place.settle()
        return lambda n: torch.get_num_threads()

    inline = Inline(Place(threads=here + 1))
    assert [each.result for each in inline.run(settled, range(2))] == [here + 1] * 2
    assert torch.get_num_threads() == here
    running = inline.run(settled, range(2))
    assert next(running).result == here + 1
    running.close()
    assert torch.get_num_threads() == here


def test_a_result_that_cannot_be_sent() -> None:
    """It is its task's error; the worker lives on."""
    finished = {each.task: each for each in Processes(1).run(lambdas, range(3))}
    assert [finished[0].result, finished[2].result] == [0, 2]
    assert "pickle" in str(finished[1].error) and not finished[1].died


def one_bad_place(place: Place) -> Callable[[int], int]:
    """A worker that tells where it is; at place 0 it dies as it is made."""
    if place.index == 0:
        os._exit(7)
    return lambda n: place.index


@pytest.mark.fault("F30")
def test_a_place_that_cannot_start_a_worker() -> None:
    """It is left out, and the others do all of the work, however little there is."""
    for count in (1, 40):
        results = [each.result for each in Processes(2).run(one_bad_place, range(count))]
        assert results == [1] * count


class Together:
    """Workers that are ready when all three of them have begun to be made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, place: Place) -> Callable[[bytes], int]:
        (self.folder / str(place.index)).touch()
        end = time.monotonic() + 30
        while len(list(self.folder.iterdir())) < 3:
            if time.monotonic() > end:
                raise ModelError("the others are not begun")
            time.sleep(0.01)
        return len


def test_large_tasks_do_not_delay_the_start(tmp_path: Path) -> None:
    """All workers are made at the same time; a large task is sent to one that is ready."""
    works = Processes(3).run(Together(tmp_path), [bytes(600_000)] * 3)
    assert [each.result for each in works] == [600_000] * 3


def test_a_worker_that_dies_while_it_is_idle() -> None:
    """That is no attempt of the task that comes next: a task survives more of it than it may."""
    works = Processes(1)
    with contextlib.closing(works.run(squares, range(ATTEMPTS + 3))) as stream:
        for finished in stream:
            assert finished.result == finished.task**2
            member = works._crew[0]
            member.process.kill()
            member.process.join()


def test_tasks_are_taken_as_they_are_needed() -> None:
    """A manifest of any length is read as far as it is worked on."""
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for n in range(10_000):
            taken.append(n)
            yield n

    for works in (Inline(), Processes(2)):
        taken.clear()
        stream: Any = works.run(squares, tasks())
        next(stream)
        stream.close()
        assert len(taken) <= 4


def sleepy(place: Place) -> Callable[[int], int]:
    def work(n: int) -> int:
        (Path(os.environ["NOTES"]) / str(os.getpid())).touch()
        time.sleep(60)
        return n

    return work


@pytest.mark.fault("F4")
def test_a_worker_that_is_still_importing_ends_with_its_parent(tmp_path: Path) -> None:
    """It is under watch from its start: what it imports may take long."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, pathlib, time\n"
        "if __name__ != '__main__':\n"  # as a spawned process imports it
        f"    pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch()\n"
        "    time.sleep(60)\n"
        "else:\n"
        "    from test_executors import Processes, squares\n"
        "    list(Processes(1).run(squares, range(4)))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, str(program)], env=os.environ | {"PYTHONPATH": PATHS}
    )
    while len(list(tmp_path.iterdir())) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait(5)
    ended([int(path.name) for path in tmp_path.iterdir() if path != program])


@pytest.mark.fault("F4")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(how: signal.Signals, tmp_path: Path) -> None:
    """Neither where the parent is killed nor where it is interrupted."""
    program = (
        "from test_executors import *\nlist(Processes(2).run(sleepy, range(4)))"
        "\n# spawned processes import this module by its name"
    )
    environment = os.environ | {"NOTES": str(tmp_path), "PYTHONPATH": PATHS}
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL
    )
    while len(list(tmp_path.iterdir())) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(how)
    parent.wait(5)
    ended([int(path.name) for path in tmp_path.iterdir()])


def test_the_simulation_of_a_thousand_workers() -> None:
    """It drives the scheduler to the end: every task is done or given up."""
    path = TESTS.parent / "docs" / "scale_simulation.py"
    spec = spec_from_file_location("scale_simulation", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["scale_simulation"] = module
    spec.loader.exec_module(module)
    calm = module.simulate(module.World(life=1e12, stragglers=0), 20, 400)
    assert (calm.done, calm.begun, calm.given_up) == (400, 400, 0) and calm.seconds > calm.ideal
    rough = module.simulate(module.World(life=60), 20, 400)
    assert rough.done + rough.given_up == 400 < rough.begun and rough.seconds > calm.seconds
