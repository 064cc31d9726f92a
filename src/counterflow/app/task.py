"""A piece of work in a thread of its own: it tells how far it is, and it can be stopped."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from counterflow.errors import CounterflowError

Phases = Sequence[tuple[str, int]]
"""The parts of some work in order: the label that its progress has, and a guess of its steps."""

POLL = 0.25
"""Seconds after which one who follows a task looks whether it still lives."""
UNEXPECTED = "Something went wrong that should not have; the program's own window says more."


class Stopped(Exception):
    """The one who asked for the work does not want it any more."""


class Clock:
    """How much of some work is done, and about how long the rest takes."""

    def __init__(self, phases: Phases) -> None:
        self._names = [name for name, _ in phases] or [""]
        self._counts = [count for _, count in phases] or [1]
        """Steps of each part: guessed, and from its first step on as it tells."""
        self._at, self._made = 0, 0
        self._steps: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._last = time.perf_counter()
        self.share = 0.0
        """Of the work, 0 to 1."""
        self.left: float | None = None
        """Seconds, once a step is made."""

    def __call__(self, label: str, made: int, expected: int) -> None:
        """Note that `made` of the `expected` steps of a part are made."""
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        while self._at + 1 < len(self._names) and (
            self._names[self._at] != label or made < self._made
        ):
            self._at, self._made = self._at + 1, 0
        at = self._at
        self._names[at], self._counts[at] = label, max(expected, made, 1)
        self._steps[label] = self._steps.get(label, 0) + max(made - self._made, 1)
        self._seconds[label] = self._seconds.get(label, 0.0) + passed
        self._made = made
        self.share = (sum(self._counts[:at]) + made) / sum(self._counts)
        pace = {each: self._seconds[each] / self._steps[each] for each in self._steps}
        later = zip(self._names[at + 1 :], self._counts[at + 1 :], strict=True)
        rest = (self._counts[at] - made) * pace[label]
        self.left = rest + sum(count * pace.get(name, pace[label]) for name, count in later)


class Task:
    """Work that is followed: `for _ in task` goes on as often as something new is to be seen."""

    def __init__(
        self, work: Callable[[Task], None], phases: Sequence[tuple[str, int]] = ()
    ) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._version = 0
        self._stop = threading.Event()
        self.clock = Clock(phases)
        self.label = ""
        """What is being done."""
        self.preview: tuple[Path, Path] | None = None
        """The picture that is worked on, and what the running edit is heading for."""
        self.error = ""
        """Why the work ended early."""
        self.stopped = False
        self.over = False

    def stop(self) -> None:
        """End the work at its next step."""
        self._stop.set()

    def check(self) -> None:
        """Raise `Stopped` if the work is not wanted any more."""
        if self._stop.is_set():
            raise Stopped

    def tell(self) -> None:
        """There is something new to be seen."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def progress(self, label: str, made: int, expected: int) -> None:
        """A `counterflow.progress.Progress`, at which the work can be stopped."""
        self.check()
        self.label = label
        self.clock(label, made, expected)
        self.tell()

    def __iter__(self) -> Iterator[Task]:
        """Begin the work, and go on with it; to leave the loop stops the work."""
        threading.Thread(target=self._run, daemon=True).start()
        seen = 0
        try:
            ended = False
            while not ended:
                with self._changed:
                    if self._version == seen:
                        self._changed.wait(POLL)
                    fresh, seen = self._version != seen, self._version
                    ended = self.over  # and what it told last is told once more
                if fresh:
                    yield self
        finally:
            self.stop()

    def _run(self) -> None:
        try:
            self.check()
            self._work(self)
        except Stopped:
            self.stopped = True
        except CounterflowError as error:
            self.error = str(error)
        except Exception:
            traceback.print_exc()
            self.error = UNEXPECTED
        finally:
            with self._changed:
                self.over = True
                self._version += 1
                self._changed.notify_all()
