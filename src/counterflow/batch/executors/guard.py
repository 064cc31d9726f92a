"""Ends workers, or the helpers of a cluster, with the process that started it, however that ends.

Workers watch their parent too, but not before they have imported what they need for it; Ray's own
agents wait for ever where driver, node and control store are killed at once.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

WATCH = """
import os, signal, sys
born = [line.split() for line in sys.stdin]  # until the pipe closes, with the process that writes
for pid, when in born:
    try:
        with open("/proc/%s/stat" % pid) as file:
            if file.read().rpartition(")")[2].split()[19] == when:  # and is no other one by now
                os.kill(int(pid), signal.SIGKILL)
    except OSError:
        pass
"""


@contextlib.contextmanager
def watching() -> Iterator[Callable[[int], None]]:
    """A function that puts a process under watch: it is killed as soon as this one has ended."""
    command = [sys.executable, "-S", "-c", WATCH]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    told = watcher.stdin
    assert told is not None

    def watch(pid: int) -> None:
        if when := _born(pid):
            with contextlib.suppress(OSError):
                told.write(f"{pid} {when}\n".encode())
                told.flush()

    try:
        yield watch
    finally:
        with contextlib.suppress(OSError):
            told.close()
        watcher.wait()


@contextlib.contextmanager
def guarded(before: Collection[int]) -> Iterator[None]:
    """No process below this one outlives it, of those that are there now and were not `before`."""
    pids = [pid for pid in below(os.getpid()) if pid not in before]
    with watching() as watch:
        for pid in pids:
            watch(pid)
        yield


def _born(pid: int) -> str:
    """When a process began, in the system's count; nothing for one that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def below(pid: int) -> list[int]:
    """The processes below one, where the system tells them in /proc."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError, ValueError):
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *below(child)]
    return found
