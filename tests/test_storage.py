"""A store that denies, fails or lies on another disk ends the run with the reason."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from batch_double import draw, recipe
from counterflow.batch import run
from counterflow.batch.executors.inline import Inline
from counterflow.batch.index import Receipt
from counterflow.batch.publish import Folder, Objects, Unwritable
from counterflow.batch.work import PATIENCE, EditWorker, Entry
from counterflow.errors import InputError
from test_batch import batch, folder, sources, states

__all__ = ["folder"]

fsspec = pytest.importorskip("fsspec")
memory = pytest.importorskip("fsspec.implementations.memory")


class Editing(EditWorker):
    """A worker whose edits are not made, but counted."""

    made = 0

    def _inverted(self, entry: Entry) -> Any:
        return entry.item

    def _edit(self, entry: Entry, inversion: Any, first: bool) -> Receipt:
        self.made += 1
        with self._stored(entry.name):
            self.store.publish(entry.name, lambda path: draw(entry.id, path))
        return Receipt(entry.id, "done", digest="0" * 64, bytes=1)


@dataclass(frozen=True)
class Failing(Objects):
    """A store that fails with these errors, one after the other, and then works."""

    errors: list[Exception] = field(default_factory=list)

    @property
    def _system(self) -> Any:
        return self

    def pipe_file(self, *_: Any, mode: str) -> None:
        """Of fsspec."""
        if self.errors:
            raise self.errors.pop(0)

    def cat_file(self, _: str) -> bytes:
        """Of fsspec."""
        return b"x"

    def exists(self, _: str) -> bool:
        """Of fsspec."""
        return False


class Throttled(Exception):
    """An error of a library of object stores."""


def tried(folder: Path, *errors: Exception) -> tuple[int, str]:
    """Edits that were made of a batch of ten whose store fails so, and what ended it."""
    worker = Editing(recipe(), Failing("memory://x", list(errors)), None)  # type: ignore[arg-type]
    try:
        run.run(folder, sources(folder, 10), recipe(), Inline(), make=lambda place: worker)
    except Unwritable as error:
        return worker.made, str(error)
    return worker.made, ""


def test_a_store_that_denies_writing(folder: Path) -> None:
    """The first edit that cannot be published is the last; an object store gives no number."""
    made, why = tried(folder, *[PermissionError("Access Denied")] * 10)
    assert made == 1 and "Access Denied" in why and "give leave" in why
    assert states(folder) == ["waiting"] * 10


def test_a_store_that_fails_again_and_again(folder: Path) -> None:
    """The run ends after some failures of one kind; what failed is tried by the next."""
    made, why = tried(folder, *[Throttled("slow down")] * 10)
    assert made == PATIENCE and "Throttled: slow down" in why
    assert states(folder).count("failed") == PATIENCE - 1
    assert tried(folder) == (10, "") and states(folder) == ["done"] * 10


def test_a_store_that_fails_now_and_then(folder: Path) -> None:
    """The run goes on; failures are counted from the last result."""
    errors = [*[Throttled("slow down")] * (PATIENCE - 1), OSError("reset by peer")]
    assert tried(folder, *errors) == (10, "")
    assert states(folder).count("failed") == PATIENCE


class Closed(memory.MemoryFileSystem):  # type: ignore[misc]
    """A store that may not be listed."""

    protocol = "closed"
    error: Exception = PermissionError("Access Denied")

    def find(self, *_: Any, **__: Any) -> Any:
        raise self.error


def test_a_store_that_cannot_be_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends before it begins."""
    fsspec.register_implementation("closed", Closed, clobber=True)
    for error, why in ((Closed.error, "Access Denied"), (Throttled("slow"), "cannot be listed")):
        monkeypatch.setattr(Closed, "error", error)
        with pytest.raises(InputError, match=why):
            run.run(folder, sources(folder, 3), recipe(), Inline(), url="closed://bucket/x")


def test_what_is_there_is_asked_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder and of an object store alike, however many items wait."""
    url = f"memory://{folder.parent.name}/asked"
    for store in (Folder(folder.parent / "other"), Objects(url)):
        assert store.names() == set()
        for name in ("a.png", "b.png"):
            store.publish(name, lambda path: draw("x", path))
        if isinstance(store, Objects):
            store.withdraw("b.png")
            assert store.names() == {"a.png"}
        else:
            assert store.names() == {"a.png", "b.png"}
    wanted = sources(folder)
    batch(folder, wanted)
    (folder / "index.sqlite").unlink()
    monkeypatch.setattr(Folder, "has", None)
    batch(folder, wanted)
    assert states(folder) == ["done"] * len(wanted)


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="there is one disk alone")
def test_pictures_on_another_disk(folder: Path) -> None:
    """Refused before anything is made: a file cannot be linked from one disk into another."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        if os.stat(other).st_dev == folder.parent.stat().st_dev:
            pytest.skip("the same disk")
        batch(folder, sources(folder, 1))
        shutil.rmtree(folder / "pictures")
        (folder / "pictures").symlink_to(other)
        with pytest.raises(InputError, match="another disk"):
            batch(folder, sources(folder, 3))
        assert not os.listdir(other)
