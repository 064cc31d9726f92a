"""Batches that are killed at random moments, and what must be true of them in the end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parent
PATHS = f"{TESTS}:{TESTS.parent / 'src'}"
OUTLIVES = 5.0
"""Seconds after which nothing of a killed run may be left."""

A_ROUND = 1.5
"""Seconds of a worker's time for each round: more than a round lets both of them work."""


def start(
    folder: Path, count: int, engine: str, delay: float = 0.0, errors: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """A batch of stand-ins, as a process of its own."""
    command = [sys.executable, str(TESTS / "batch_double.py"), str(folder), str(count), engine]
    environment = os.environ | {"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, str(delay)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be read does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


def ended(pids: list[int]) -> None:
    """Wait for processes to end; AssertionError where one of them outlives its parent."""
    end = time.monotonic() + OUTLIVES
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < end, f"{left} outlived their parent"
        time.sleep(0.02)


def kill(pid: int) -> None:
    """SIGKILL, where the process is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def harass(folder: Path, count: int, engine: str, rounds: int, seed: int) -> int:
    """Start a batch so many times and kill it, or some of its workers, at a random moment.

    Items take so long that there is work for the last round, too. Returns how many rounds killed a
    parent at work. Raises AssertionError where a process outlives it.
    """
    chance = random.Random(seed)
    delay = A_ROUND * rounds / count
    killed = 0
    for _ in range(rounds):
        before = len(list(folder.glob("pictures/*")))
        parent = start(folder, count, engine, delay)
        _at_work(parent, folder, before)
        time.sleep(chance.uniform(0.0, 0.5))
        below = descendants(parent.pid)
        if chance.random() < 0.5 and below:
            for _ in range(chance.randint(1, 3)):
                workers = descendants(parent.pid)
                if workers:
                    kill(chance.choice(workers))
                time.sleep(chance.uniform(0.05, 0.3))
        below = descendants(parent.pid)
        killed += parent.poll() is None
        kill(parent.pid)
        parent.wait()
        ended(below)
    return killed


def _at_work(parent: subprocess.Popen[bytes], folder: Path, before: int) -> None:
    """Wait until a batch has published something more, or ended."""
    while parent.poll() is None and len(list(folder.glob("pictures/*"))) <= before:
        time.sleep(0.05)


def digests(folder: Path) -> dict[str, str]:
    """The published files with their SHA-256."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (folder / "pictures").iterdir()
    }
