"""Ends the helpers of a cluster with the process that started it, however that ends.

Ray's own agents wait for ever where driver, node and control store are killed at once.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

WATCH = """
import os, signal, sys
pids = [int(line) for line in sys.stdin]  # until the pipe closes, with the process that writes
for pid in pids:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
"""


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """While it is open, and afterwards: no process that is below this one now outlives it."""
    command = [sys.executable, "-S", "-c", WATCH]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    assert watcher.stdin is not None
    pids = [pid for pid in below(os.getpid()) if pid != watcher.pid]
    watcher.stdin.write("".join(f"{pid}\n" for pid in pids).encode())
    watcher.stdin.flush()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            watcher.stdin.close()
        watcher.wait()


def below(pid: int) -> list[int]:
    """The processes below one, where the system tells them in /proc."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError, ValueError):
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *below(child)]
    return found
