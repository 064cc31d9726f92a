"""What belongs to one open tab: its results, its files, its running work. All of it is bounded."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from counterflow.app.task import Task

MOST_SESSIONS = 24
MOST_KEPT = 24
"""Results in a session's history."""
RECENT = 4
"""Folders that are kept whatever is in them, as they may be shown still."""
MOST_PATHS = 4
"""Of how many of them the way there is kept, for an animation."""


@dataclass(eq=False)
class Kept:
    """A result in a session's history."""

    file: Path
    """The PNG, with its settings inside."""
    source_file: Path
    """The picture that it was made from."""
    source: str
    target: str
    facts: dict[str, Any]
    """What is told of it; see `markup.report`."""
    mask: Path | None = None
    """The mask that it was made inside, or that its method found."""
    path: Tensor | None = field(default=None, repr=False)
    """The clean picture's latents after each step, `[steps, c, h, w]`, half precision."""


class Session:
    """One open tab."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.history: list[Kept] = []
        """Newest first."""
        self.shown: Kept | None = None
        self.sources: OrderedDict[str, Path] = OrderedDict()
        """Files of pictures that were edited or drawn, by their SHA-256."""
        self.drawn: tuple[Path, str, str] | None = None
        """What was drawn last: its file, its sentence, and a target or nothing."""
        self.task: Task | None = None
        self._numbers = itertools.count(1)
        self._places: list[Path] = []

    def place(self) -> Path:
        """A new folder in the session's; what earlier ones hold and nothing shows any more goes."""
        used = {each.file.parent for each in self.history}
        used |= {each.parent for each in self.sources.values()}
        for old in self._places:
            for file in old.glob("preview-*.png"):
                file.unlink(missing_ok=True)
        for old in [each for each in self._places[:-RECENT] if each not in used]:
            self._places.remove(old)
            shutil.rmtree(old, ignore_errors=True)
        self._places.append(self.folder / str(next(self._numbers)))
        self._places[-1].mkdir(parents=True, exist_ok=True)
        return self._places[-1]

    def keep(self, kept: Kept) -> None:
        """Put a result first in the history; the oldest go, with their files."""
        self.history.insert(0, kept)
        self.shown = kept
        for each in self.history[MOST_PATHS:]:
            each.path = None
        for each in self.history[MOST_KEPT:]:
            each.file.unlink(missing_ok=True)
        del self.history[MOST_KEPT:]

    def remember(self, digest: str, file: Path) -> None:
        """Note where a source picture's file is; the oldest are forgotten."""
        self.sources[digest] = file
        self.sources.move_to_end(digest)
        while len(self.sources) > MOST_KEPT:
            self.sources.popitem(last=False)

    def close(self) -> None:
        """The tab is gone: its work is stopped and its files are deleted."""
        if self.task is not None:
            self.task.stop()
        self.history.clear()
        self.sources.clear()
        self.shown = None
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """The open tabs by their hash; of too many the one that was not used for longest is closed."""

    def __init__(self, folder: Path, most: int = MOST_SESSIONS) -> None:
        self._folder, self._most = folder, most
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def __call__(self, name: str | None) -> Session:
        """The session of a tab; a new one for a name that is not known, or for none."""
        with self._lock:
            key = name or f"nameless {next(self._numbers)}"
            if key not in self._open:
                self._open[key] = Session(self._folder / str(next(self._numbers)))
            self._open.move_to_end(key)
            gone = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - self._most)]
            session = self._open[key]
        for each in gone:
            each.close()
        return session

    def close(self, name: str | None) -> None:
        """A tab is gone."""
        with self._lock:
            session = self._open.pop(name or "", None)
        if session is not None:
            session.close()

    def __len__(self) -> int:
        return len(self._open)
