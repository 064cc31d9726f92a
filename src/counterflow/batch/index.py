"""The states of a batch's items, in SQLite: an index of the folder, which is the truth.

An index that is lost is made again: what is published is found by its file. Receipts are committed
twice a second, and what a crash leaves out is found in the same way.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from counterflow.errors import InputError

State = Literal["waiting", "done", "failed"]
INDEX = "index.sqlite"
COMMIT = 0.5
"""Seconds between commits."""
WAIT = 30.0
"""Seconds to wait for somebody who reads."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
  row TEXT PRIMARY KEY, place INTEGER, name TEXT, image TEXT, source TEXT, target TEXT, mask TEXT,
  picture TEXT, mask_picture TEXT, id TEXT, file TEXT, state TEXT NOT NULL, error TEXT,
  lost INTEGER DEFAULT 0, attempts INTEGER DEFAULT 0, digest TEXT, bytes INTEGER, forwards REAL,
  seconds REAL, trust REAL, sentence TEXT, wanted INTEGER DEFAULT 1
);
CREATE INDEX IF NOT EXISTS by_state ON items (state);
CREATE INDEX IF NOT EXISTS by_id ON items (id);
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, state TEXT, digest TEXT);
"""


@dataclass(frozen=True)
class Receipt:
    """What became of an item."""

    id: str
    state: State
    error: str | None = None
    lost: bool = False
    """Whether it failed with its worker, rather than by itself: the next run tries it again."""
    stop: bool = False
    """Whether no result can be written any more, so that the run must end."""
    digest: str | None = None
    """SHA-256 of the published file."""
    bytes: int | None = None
    forwards: float | None = None
    seconds: float | None = None
    trust: float | None = None
    """The chance that the edit succeeds; None where there is no calibration."""
    sentence: str | None = None
    """What is said of it."""


class Index:
    """The index of a folder; `rank` is that of one of several writers."""

    def __init__(self, folder: Path, rank: int | None = None) -> None:
        name = INDEX if rank is None else f"index-{rank}.sqlite"
        self.path = folder / name
        try:
            self.base = sqlite3.connect(self.path, timeout=WAIT)
            self.base.row_factory = sqlite3.Row
            self.base.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise InputError(
                f"{self.path} cannot be used ({error}): delete it, and run the batch again"
            ) from None
        self._committed = time.monotonic()

    def close(self) -> None:
        """Commit and close."""
        try:
            self.base.commit()
        finally:
            self.base.close()

    def commit(self, now: bool = False) -> None:
        """Commit if it is time; while somebody reads, later."""
        if now or time.monotonic() - self._committed > COMMIT:
            try:
                self.base.commit()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
            self._committed = time.monotonic()

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add items, or bring those that are there up to date; both by `row`."""
        for entry in rows:
            names = ", ".join(entry)
            marks = ", ".join(f":{name}" for name in entry)
            new = ", ".join(f"{name}=excluded.{name}" for name in entry if name != "row")
            self.base.execute(
                f"INSERT INTO items ({names}) VALUES ({marks}) "
                f"ON CONFLICT(row) DO UPDATE SET {new}",
                entry,
            )
        self.base.commit()

    def want(self, rows: Iterable[str]) -> None:
        """Let these items alone be wanted: those of the present manifest."""
        self.base.execute("UPDATE items SET wanted=0")
        self.base.executemany("UPDATE items SET wanted=1 WHERE row=?", ((row,) for row in rows))
        self.base.commit()

    def rows(self, where: str = "1", *values: Any) -> Iterator[sqlite3.Row]:
        """Items in the order of the manifest."""
        yield from self.base.execute(f"SELECT * FROM items WHERE {where} ORDER BY place", values)

    def record(self, receipt: Receipt) -> None:
        """Note what became of an item, and of its equals in the manifest."""
        self.base.execute(
            "UPDATE items SET state=?, error=?, lost=?, attempts=attempts+1, digest=?, bytes=?, "
            "forwards=?, seconds=?, trust=?, sentence=? WHERE id=?",
            (
                receipt.state,
                receipt.error,
                receipt.lost,
                receipt.digest,
                receipt.bytes,
                receipt.forwards,
                receipt.seconds,
                receipt.trust,
                receipt.sentence,
                receipt.id,
            ),
        )
        self.commit()

    def again(self, where: str, *values: Any) -> int:
        """Let wanted items wait once more; how many."""
        changed = self.base.execute(
            f"UPDATE items SET state='waiting', error=NULL WHERE wanted AND ({where})", values
        ).rowcount
        self.base.commit()
        return changed

    def missing(self, ids: Iterable[str]) -> None:
        """Let items wait whose results are not there any more."""
        self.base.executemany(
            "UPDATE items SET state='waiting', error=NULL WHERE id=?", ((each,) for each in ids)
        )
        self.base.commit()

    def digest_of(self, path: str, state: str) -> str | None:
        """The SHA-256 of a file whose size and time are still those of `state`, if known."""
        found = self.base.execute(
            "SELECT digest FROM files WHERE path=? AND state=?", (path, state)
        ).fetchone()
        return None if found is None else str(found[0])

    def remember(self, path: str, state: str, digest: str) -> None:
        """Remember a file's SHA-256."""
        self.base.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (path, state, digest))
        self.commit()


def indexes(folder: Path) -> list[tuple[Path, int | None]]:
    """The index files of a folder with their ranks: one, or one for each of its writers."""
    named = (
        (path, re.fullmatch(r"index(?:-(\d+))?\.sqlite", path.name)) for path in folder.glob("*")
    )
    return sorted(
        (path, None if match[1] is None else int(match[1])) for path, match in named if match
    )


def every(folder: Path, wanted: bool = True) -> list[dict[str, Any]]:
    """All items of a folder by all its indexes; where they differ, done is right.

    Those alone of the present manifest, unless `wanted` is False. Raises InputError where there is
    no index, or it is damaged or busy.
    """
    order = {"done": 0, "failed": 1, "waiting": 2}
    found: dict[str, dict[str, Any]] = {}
    paths = indexes(folder)
    if not paths:
        raise InputError(f"{folder} holds no batch; give a folder that `counterflow batch` wrote")
    for path, _ in paths:
        for entry in _read(path):
            there = found.get(entry["row"])
            if there is None or order[entry["state"]] < order[there["state"]]:
                found[entry["row"]] = entry
    entries = (entry for entry in found.values() if entry["wanted"] or not wanted)
    return sorted(entries, key=lambda entry: entry["place"])


def _read(path: Path) -> list[dict[str, Any]]:
    """The items of one index; it is opened for writing if it can be, as a crash may be undone."""
    how = "rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "ro"
    try:
        uri = f"{path.absolute().as_uri()}?mode={how}"
        with closing(sqlite3.connect(uri, uri=True, timeout=WAIT)) as base:
            base.row_factory = sqlite3.Row
            return [dict(row) for row in base.execute("SELECT * FROM items")]
    except sqlite3.Error as error:
        if "locked" in str(error) or "busy" in str(error):
            raise InputError(f"{path} is busy: ask again in a moment") from None
        raise InputError(
            f"{path} is damaged ({error}): delete it, and run the batch again"
        ) from None
