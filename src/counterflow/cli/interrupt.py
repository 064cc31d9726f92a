"""Ctrl-C: the program says so and is gone within a second, whatever it is doing.

The first one raises KeyboardInterrupt, so that everything that is open is put away. But some
libraries swallow that while they are imported, and Python needs a second to take a loaded model
apart; so the program then ends without that, and after `PATIENCE` in any case. Temporary folders of
`temporary_folder` are gone even so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

CODE = 130
"""Exit code of Ctrl-C, by the convention of shells: 128 and the signal's number."""
PATIENCE = 0.5
"""Seconds for putting away what is open."""

happened = threading.Event()
_received = signal.SIGINT
_listening = False
_leaving = threading.Lock()
_folders: list[Path] = []


def listen() -> None:
    """From now on this program, as long as it runs, is interrupted as said above."""
    global _listening
    _listening = True
    threading.Thread(target=_watch, daemon=True).start()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        signal.signal(signal.SIGINT, _interrupt)


def heed(*names: str) -> None:
    """Take signals, where the system has them and they are not ignored, as Ctrl-C is taken.

    Only the program itself does, not one that calls `main` as a function.
    """
    for name in names:
        number = getattr(signal, name, None)
        if _listening and number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder that is removed at the end, also where the program is interrupted."""
    folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    _folders.append(folder)
    try:
        yield folder
    finally:
        _remove(folder)


def leave() -> NoReturn:
    """Say that the program was interrupted, and end it at once, with all processes of its own."""
    if not _leaving.acquire(blocking=False):
        time.sleep(PATIENCE)  # the other thread is about to end everything
    shown = b"\x1b[?25h" if os.isatty(2) else b""  # a progress bar hides the cursor
    with contextlib.suppress(OSError):  # the terminal is gone, perhaps
        os.write(2, shown + b"counterflow: interrupted\n")
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.terminate()
    for folder in _folders:
        _remove(folder)
    os._exit(128 + _received)


def _remove(folder: Path) -> None:
    """Remove a folder into which other threads may write still."""
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.01)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    global _received
    if happened.is_set():
        leave()
    _received = signal.Signals(number)
    happened.set()
    raise KeyboardInterrupt


def _watch() -> None:
    happened.wait()
    time.sleep(PATIENCE)
    leave()
