"""A result is published once: worked on elsewhere, flushed, and put in its place if that is free.

In a folder it is linked into its place. A link fails where there is a file already, so of two that
did the same work one is the first, and the other finds it there. An object store has "put if
absent" for the same. Nobody ever sees half a file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from counterflow.errors import CounterflowError, InputError

WORK = ".work"
"""Where unfinished files are, in the folder of results."""
PICTURES = "pictures"
"""The folder of the results, in the batch's."""
ALTERED = "altered"
"""Where results are moved that were found altered."""
UNLINKED = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What a file system without links answers."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""What a system answers where nothing more can be written; and so is every PermissionError."""


class Unwritable(InputError):
    """A place where nothing can be written: a full disk, a folder without leave."""


@runtime_checkable
class Store(Protocol):
    """Where results are published, by name."""

    def check(self) -> None:
        """Raise InputError where results could be made, but not published."""
        ...

    def names(self) -> set[str]:
        """The names of all results. Raises Unwritable where they may not be listed."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is a result of that name. Raises Unwritable as `names` does."""
        ...

    def place(self, name: str) -> Path | None:
        """The path of a result, for what its record says relative to it; None of an object."""
        ...

    def publish(self, name: str, write: Callable[[Path], None]) -> tuple[str, int]:
        """Let `write` make a file, and publish it unless there is a result of that name.

        Returns the SHA-256 and the size of what is there then. Raises Unwritable.
        """
        ...

    def opened(self, name: str) -> AbstractContextManager[Path]:
        """A file to read it from."""
        ...

    def withdraw(self, name: str) -> None:
        """Move it aside, so that it is made again."""
        ...


@dataclass(frozen=True)
class Folder:
    """Results in a folder of this machine, or one that machines share."""

    home: Path
    """The batch's folder."""

    def check(self) -> None:
        """As `Store.check`: a link leads nowhere else but within a disk."""
        disks = {path.stat().st_dev for path in self._rooms() if path.exists()}
        if len(disks) > 1:
            raise InputError(
                f"{self.home / PICTURES} is on another disk than {self.home}, and what is made in "
                "one cannot be published in the other: name another folder for all of it"
            )

    def names(self) -> set[str]:
        """As `Store.names`."""
        with _writable(PICTURES), contextlib.suppress(FileNotFoundError):
            return set(os.listdir(self.home / PICTURES))
        return set()

    def has(self, name: str) -> bool:
        """Whether there is a result of that name."""
        return self.place(name).exists()

    def place(self, name: str) -> Path:
        """The path of a result."""
        return self.home / PICTURES / name

    def publish(self, name: str, write: Callable[[Path], None]) -> tuple[str, int]:
        """As `Store.publish`."""
        path = self.place(name)
        with _writable(name), self._unfinished(path) as temporary:
            write(temporary)
            _place(temporary, path)
            _flush(path.parent)
        return digest(path), path.stat().st_size

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """A file to read it from."""
        yield self.place(name)

    def withdraw(self, name: str) -> None:
        """Move it to `altered/`."""
        (self.home / ALTERED).mkdir(exist_ok=True)
        os.replace(self.place(name), self.home / ALTERED / name)

    def clear(self) -> None:
        """Remove what killed runs left unfinished; for who has the folder to himself."""
        for path in (self.home / WORK).glob("*"):
            with contextlib.suppress(OSError):
                path.unlink()

    def _rooms(self) -> tuple[Path, ...]:
        return self.home, self.home / PICTURES, self.home / WORK

    @contextmanager
    def _unfinished(self, path: Path) -> Iterator[Path]:
        (self.home / WORK).mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.home / WORK / f"{secrets.token_hex(8)}{path.suffix}"
        try:
            yield temporary
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Objects:
    """Results as objects under a URL that fsspec knows: `s3://bucket/prefix`, `gs://…`."""

    url: str

    def check(self) -> None:
        """As `Store.check`: nothing is known before it is tried."""

    def names(self) -> set[str]:
        """As `Store.names`, by one listing."""
        try:
            with _writable(self.url):
                system = self._system
                system.invalidate_cache()  # others may have published since
                found = system.find(self.url, maxdepth=1)
        except CounterflowError:
            raise
        except FileNotFoundError:
            return set()
        except Exception as error:  # each system has errors of its own
            raise InputError(f"{self.url} cannot be listed ({error!r:.200})") from error
        return {path.rpartition("/")[2] for path in found}

    def has(self, name: str) -> bool:
        """Whether there is a result of that name."""
        with _writable(name):
            return bool(self._system.exists(self._at(name)))

    def place(self, name: str) -> None:
        """An object has no path."""
        return None

    def publish(self, name: str, write: Callable[[Path], None]) -> tuple[str, int]:
        """As `Store.publish`, by "put if absent"."""
        with _writable(name), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            write(path)
            with contextlib.suppress(FileExistsError):
                self._system.pipe_file(self._at(name), path.read_bytes(), mode="create")
        with self.opened(name) as path:
            return digest(path), path.stat().st_size

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """A copy of it."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            with _writable(name):
                path.write_bytes(self._system.cat_file(self._at(name)))
            yield path

    def withdraw(self, name: str) -> None:
        """Move it under `altered/`."""
        with _writable(name):
            self._system.mv(self._at(name), self._at(f"{ALTERED}/{name}"))

    @property
    def _system(self) -> Any:
        try:
            import fsspec

            return fsspec.core.url_to_fs(self.url)[0]
        except (ImportError, ValueError) as error:
            raise InputError(f"{self.url} cannot be used: {error}") from None

    def _at(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"


def store_of(folder: Path, url: str | None) -> Store:
    """Where a batch publishes: under a URL, or in its own folder."""
    return Folder(folder.absolute()) if url is None else Objects(url)


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _writable(name: str) -> Iterator[None]:
    """Name the file in what the system says about writing it."""
    try:
        yield
    except (OSError, InputError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, PermissionError):
            what = "give leave"  # of an object store it has no number
        elif isinstance(cause, OSError) and cause.errno in FULL:
            what = "make room"
        else:
            raise  # it is the item's own fault, or may pass
        why = cause.strerror or cause
        raise Unwritable(f"{name} cannot be written ({why}): {what}, then go on") from None


def _place(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in UNLINKED:
            raise
        if not path.exists():
            os.replace(temporary, path)


def _flush(folder: Path) -> None:
    """Flush a folder, so that a file in it outlives a power cut; not every system lets one."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        handle = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, handle)
        os.fsync(handle)
