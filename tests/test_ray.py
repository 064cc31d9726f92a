"""What is Ray's own: its cluster is closed to others, its rows have ids that stay, dead places."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from counterflow.batch.executors.base import Place, WorkersLost

if find_spec("ray") is None:
    pytest.skip("Ray is not installed", allow_module_level=True)

from counterflow.batch.executors.ray import Actor, RayData, identified

TESTS = Path(__file__).parent
PATHS = f"{TESTS}:{TESTS.parent / 'src'}"
WATCHED = """
import json, os, subprocess, sys
from kills import descendants
from counterflow.batch.executors.ray import RayData
from test_ray import listening, squares

stream = RayData(1, 1).run(squares, range(40))
next(stream)
import ray
address = ray.get_runtime_context().gcs_address
stranger = "import ray; ray.init(address=%r, log_to_driver=False)" % address
bare = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
code = subprocess.run([sys.executable, "-c", stranger], env=bare, capture_output=True).returncode
friend = subprocess.run([sys.executable, "-c", stranger], capture_output=True).returncode
told = listening([os.getpid(), *descendants(os.getpid())])
print(json.dumps({"stranger": code, "friend": friend, "addresses": told}))
stream.close()
"""


def squares(place: Place) -> Callable[[int], int]:
    return lambda n: n * n


def listening(pids: list[int]) -> list[str]:
    """The addresses, as the kernel writes them in hex, on which processes accept connections."""
    sockets = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(os.readlink(handle))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                found.add(words[1].partition(":")[0])
    return sorted(found)


LOOPBACK = {"0100007F", "0" * 24 + "01000000", "0000000000000000FFFF00000100007F"}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the system has no /proc")
def test_a_cluster_of_this_machine_is_closed() -> None:
    """It listens on loopback alone, and who has no token is refused; as docs/security.md says."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        env=environment | {"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0 and done.stdout, done.stderr
    told = json.loads(done.stdout)  # and nothing of Ray is on the standard output
    assert told["addresses"] and set(told["addresses"]) <= LOOPBACK
    assert told["stranger"] != 0 and told["friend"] == 0


def test_ids_that_stay() -> None:
    """A task has the same one whatever is done before; equal tasks have their own."""
    first = identified(["a", "b", "c", "b"])
    later = identified(["c", "b"])
    assert len(first) == 4 and list(first.values()) == ["a", "b", "c", "b"]
    assert set(later) <= set(first) and all(first[name] == later[name] for name in later)


class Once:
    """Workers that can be made until one dies of task 3, and never after."""

    def __init__(self, folder: Path) -> None:
        self.dead = folder / "dead"

    def __call__(self, place: Place) -> Callable[[int], int]:
        if self.dead.exists():
            os._exit(7)
        return self.work

    def work(self, n: int) -> int:
        if n == 3:
            self.dead.touch()
            os._exit(8)
        return n


@pytest.mark.fault("F30")
def test_workers_that_cannot_start_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What waits for a place that makes no more workers does not wait for ever."""
    monkeypatch.setenv("PYTHONPATH", PATHS)
    with pytest.raises(WorkersLost, match="workers die as they start"):
        list(RayData(1, 1).run(Once(tmp_path), range(8)))
    assert capfd.readouterr().out == ""


def test_an_actor_in_a_pipeline_of_ones_own() -> None:
    """Further columns of its rows stay, and so does the id."""
    actor = Actor(squares, 1)
    out = actor({"id": ["x"], "task": [b"K\x03."], "note": ["kept"]})
    assert (out["id"], out["note"]) == (["x"], ["kept"]) and "task" not in out
