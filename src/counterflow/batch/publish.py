"""A result is published once: worked on beside its place, flushed, and linked into it.

A link fails where there is a file already, so of two that did the same work one is the first, and
the other finds it there. Nobody ever sees half a file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from counterflow.errors import InputError

WORK = ".work"
"""Where unfinished files are, in the folder of results."""


class Unwritable(InputError):
    """A place where nothing can be written: a full disk, a folder without leave."""


UNLINKED = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What a file system without links answers."""


def publish(path: Path, write: Callable[[Path], None]) -> tuple[str, int]:
    """Let `write` make a file and put it at `path`, unless there is one.

    Returns the SHA-256 and the size of the file that is there then. Raises Unwritable.
    """
    with writable(path), _unfinished(path) as temporary:
        write(temporary)
        _place(temporary, path)
        _flush(path.parent)
    return digest(path), path.stat().st_size


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clear(folder: Path) -> None:
    """Remove what killed runs left unfinished; for who has the folder to himself."""
    for path in (folder / WORK).glob("*"):
        with contextlib.suppress(OSError):
            path.unlink()


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Name the file in what the system says about writing it."""
    try:
        yield
    except (OSError, InputError) as error:
        why = getattr(error, "strerror", None) or error
        raise Unwritable(f"{path.name} cannot be written ({why}): make room, then go on") from None


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    folder = path.parent.parent / WORK
    folder.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{secrets.token_hex(8)}{path.suffix}"
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


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
