"""The states of a batch's items, in SQLite: an index of the folder, which is the truth.

An index that is lost is made again: what is published is found by its file. Receipts are committed
twice a second, and what a crash leaves out is found in the same way. Folders travel, so every line
of an index is checked as it is read.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterflow.batch.rows import Manifest, State, checked
from counterflow.errors import InputError

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
CREATE TABLE IF NOT EXISTS manifest (number INTEGER, digest TEXT, total INTEGER);
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

    def want(self, rows: Iterable[str], manifest: Manifest) -> None:
        """Let these items alone be wanted: those of the present manifest, or of a share of it."""
        self.base.execute("UPDATE items SET wanted=0")
        self.base.executemany("UPDATE items SET wanted=1 WHERE row=?", ((row,) for row in rows))
        self.base.execute("DELETE FROM manifest")
        self.base.execute(
            "INSERT INTO manifest VALUES (:number, :digest, :total)", manifest.model_dump()
        )
        self.base.commit()

    def rows(self, where: str = "1", *values: Any) -> Iterator[dict[str, Any]]:
        """Items in the order of the manifest."""
        query = f"SELECT * FROM items WHERE {where} ORDER BY place"
        yield from map(dict, self.base.execute(query, values))

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
            "UPDATE items SET state='waiting', error=NULL, attempts=attempts+1 WHERE id=?",
            ((each,) for each in ids),
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


def every(
    folder: Path, wanted: bool = True, only: Container[str] | None = None
) -> list[dict[str, Any]]:
    """All items of a folder by all its indexes; where two differ, the one with more attempts is
    right.

    Those alone of the newest manifest, unless `wanted` is False, and of the rows `only`. Raises
    InputError where there is no index, or it is damaged or busy.
    """
    parts = _parts(folder, only)
    newest = max(manifest.number for manifest, _ in parts)
    found: dict[str, dict[str, Any]] = {}
    for manifest, entries in parts:
        for entry in entries:
            entry["wanted"] &= manifest.number == newest
            there = found.setdefault(entry["row"], entry)
            right = min(there, entry, key=_order)
            found[entry["row"]] = right | {"wanted": there["wanted"] | entry["wanted"]}
    rows = (entry for entry in found.values() if entry["wanted"] or not wanted)
    return sorted(rows, key=lambda entry: entry["place"])


def newest(folder: Path) -> Manifest:
    """The manifest that a folder has seen last; InputError as `every`."""
    return max((manifest for manifest, _ in _parts(folder, ())), key=lambda each: each.number)


def any_done(folder: Path) -> bool:
    """Whether an index of a folder knows of a result."""
    return any(
        _ask(path, "SELECT 1 FROM items WHERE state='done' LIMIT 1") for path, _ in indexes(folder)
    )


def _order(entry: dict[str, Any]) -> tuple[int, int]:
    """Of two that tell of an item the first is right: what is tried again waits, and knows most."""
    return -entry["attempts"], ("done", "waiting", "failed").index(entry["state"])


def _parts(
    folder: Path, only: Container[str] | None
) -> list[tuple[Manifest, list[dict[str, Any]]]]:
    """What each index says, those rows `only`."""
    paths = indexes(folder)
    if not paths:
        raise InputError(f"{folder} holds no batch; give a folder that `counterflow batch` wrote")
    return [(_manifest(path), _rows(path, only)) for path, _ in paths]


def _manifest(path: Path) -> Manifest:
    told = _ask(path, "SELECT number, digest, total FROM manifest")
    with _named(path):
        return Manifest.of(told[0]) if told else Manifest()


def _rows(path: Path, only: Container[str] | None) -> list[dict[str, Any]]:
    if only == ():
        return []
    with _named(path):
        return [checked(row) for row in _ask(path, "SELECT * FROM items", only)]


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of which index it is that something is damaged."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{path} is damaged ({error}): delete it, and run the batch again"
        ) from None


def _ask(path: Path, query: str, only: Container[str] | None = None) -> list[dict[str, Any]]:
    """What an index answers, of the rows `only`.

    It is opened for writing if it can be, as a crash may have to be undone.
    """
    how = "rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "ro"
    try:
        uri = f"{path.absolute().as_uri()}?mode={how}"
        with closing(sqlite3.connect(uri, uri=True, timeout=WAIT)) as base:
            base.row_factory = sqlite3.Row
            rows = base.execute(query)
            return [dict(row) for row in rows if only is None or row["row"] in only]
    except sqlite3.Error as error:
        if "locked" in str(error) or "busy" in str(error):
            raise InputError(f"{path} is busy: ask again in a moment") from None
        with _named(path):
            raise InputError(str(error)) from None
