"""What belongs to one open tab: its results, its files, its running work. All of it is bounded."""

from __future__ import annotations

import itertools
import secrets
import shutil
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
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
    """The picture that it was made from, in a folder of its own."""
    source: str
    target: str
    facts: dict[str, Any]
    """What is told of it; see `markup.report`."""
    mask: Path | None = None
    """The mask that it was made inside, or that its method found."""
    path: Tensor | None = field(default=None, repr=False)
    """The clean picture's latents after each step, `[steps, c, h, w]`, half precision."""
    compared: bool = False
    """Whether it was made for a comparison, which keeps no `path`."""


class Session:
    """One open tab. Its files are served from its folder, and Gradio makes no copies of them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.history: list[Kept] = []
        """Newest first."""
        self.shown: Kept | None = None
        """The result that the first tab shows."""
        self.given: Path | None = None
        """The picture in the form, where it is a file of this session."""
        self.mask: np.ndarray | None = None
        """The mask that was put under the brush, bool `[height, width]`."""
        self.closed = False
        self.uploads: set[Path] = set()
        """Gradio's copies of what this tab sent."""
        self.numbers = itertools.count(1)
        """Of results, which makes their names differ."""
        self.sources: OrderedDict[str, Path] = OrderedDict()
        """Files of pictures that were edited or drawn, by their SHA-256."""
        self.drawn: tuple[Path, str, str] | None = None
        """What was drawn last: its file, its sentence, and a target or nothing."""
        self.task: Task | None = None
        self._places: list[Path] = []
        self._lock = threading.Lock()
        self._place_numbers = itertools.count(1)

    def place(self) -> Path:
        """A new folder in the session's; what earlier ones hold and nothing shows any more goes."""
        with self._lock:
            return self._place()

    def _place(self) -> Path:
        used = [each.file for each in (*self.history, self.shown) if each is not None]
        used += [*self.sources.values(), *filter(None, [self.given, self.drawn and self.drawn[0]])]
        for old in self._places:
            for file in old.glob("preview-*.png"):
                file.unlink(missing_ok=True)
        for old in self._places[:-RECENT]:
            if not any(file.is_relative_to(old) for file in used):
                self._places.remove(old)
                shutil.rmtree(old, ignore_errors=True)
        self._places.append(self.folder / str(next(self._place_numbers)))
        self._places[-1].mkdir(parents=True, exist_ok=True)
        return self._places[-1]

    def copy(self, file: Path) -> Path:
        """A copy of a picture under its own name, in a folder in which nothing else will lie."""
        folder = self.place() / "source"
        folder.mkdir()
        return Path(shutil.copyfile(file, folder / file.name))

    def keep(self, kept: Kept) -> None:
        """Put a result first in the history; the oldest go, with their files."""
        self.history.insert(0, kept)
        for each in self.history[MOST_PATHS:]:
            each.path = None
        for each in self.history[MOST_KEPT:]:
            if each is not self.shown:
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
        self.closed = True
        if self.task is not None:
            self.task.stop()
        self.history.clear()
        self.sources.clear()
        self.shown = self.given = self.drawn = self.mask = None
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
                # Its files are served by their paths, so that nobody else may guess them.
                self._open[key] = Session(self._folder / secrets.token_urlsafe(16))
            self._open.move_to_end(key)
            gone = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - self._most)]
            session = self._open[key]
        for each in gone:
            self._end(each)
        return session

    def close(self, name: str | None) -> None:
        """A tab is gone."""
        with self._lock:
            session = self._open.pop(name or "", None)
        if session is not None:
            self._end(session)

    def _end(self, session: Session) -> None:
        """Close a session; what it sent goes, unless another tab sent the same."""
        session.close()
        with self._lock:
            others = [each.uploads for each in self._open.values()]
        for file in session.uploads.difference(*others):
            file.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._open)
