"""Files that are there are whole."""

import contextlib
import os
import secrets
from pathlib import Path

from counterflow.errors import InputError, why


def save_bytes_atomically(path: str | Path, data: bytes, over: bool = True) -> None:
    """Write `data` to `path`, creating its folders: afterwards it is the old file or all of `data`.

    Unless `over`, an old file stays. Raises InputError where the place cannot be written; nothing
    is then left behind.
    """
    path = Path(path)
    # Beside the target: a rename is atomic only within a file system. (tempfile's mode is 0600.)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if over or not _linked(temporary, path):
            os.replace(temporary, path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path}: cannot be written ({why(error)}); choose another") from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        folder = os.open(path.parent, os.O_RDONLY)  # so that the rename outlives a power cut;
        stack.callback(os.close, folder)  # not every system lets a folder be flushed
        os.fsync(folder)


def _linked(temporary: Path, path: Path) -> bool:
    """Put a file in its place unless there is one; False where there are no links."""
    try:
        os.link(temporary, path)
    except OSError:
        return path.exists()
    return True
