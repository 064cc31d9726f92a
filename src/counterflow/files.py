"""Paths that others name stay in their folder, and a folder has one writer at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from counterflow.errors import InputError, why


def inside(folder: Path, name: str) -> Path:
    """The path that `name` means in `folder`, links followed; it need not exist.

    Raises InputError when it leaves the folder, by dots, as an absolute path or by a link.
    """
    home = folder.resolve()
    try:
        path = (home / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL in the name
        raise InputError(f"{name!r:.99} is no path ({error}); correct it") from None
    if not path.is_relative_to(home):
        raise InputError(f"{name!r:.99} leaves the folder {home.name}; copy what it names into it")
    return path


LOCK = ".lock"
"""The file that is locked where a folder cannot be. It stays."""


@contextmanager
def locked(folder: Path, shared: bool = False) -> Iterator[None]:
    """Hold a folder of results for one writer, making it where it is not there.

    The lock is on the folder itself, so every path to it is the same lock. It goes with its
    process, however that ends. `shared`: for one of several writers that never write the same
    file; they keep out those that want the folder for themselves. Raises InputError if the folder
    is taken or cannot be written. Where the system has no such lock there is none.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{folder} is not a folder; name another -o") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} cannot be written: {why(error)}") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder} cannot be written: it is read-only")
    with contextlib.ExitStack() as stack:
        try:
            import fcntl
        except ImportError:
            yield
            return
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        try:
            handle = os.open(folder.resolve(), os.O_RDONLY)
            stack.callback(os.close, handle)
            try:
                fcntl.flock(handle, how)
            except BlockingIOError:
                raise
            except OSError:  # a file system over a network locks files alone
                handle = os.open(folder.resolve() / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
                stack.callback(os.close, handle)
                fcntl.flock(handle, how)
        except BlockingIOError:
            raise InputError(f"another run is writing to {folder}: wait for it") from None
        except OSError as error:
            raise InputError(f"{folder} cannot be locked: {error.strerror}") from None
        yield
