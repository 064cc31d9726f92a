"""Ctrl-C: the program says so and is gone within a second, whatever it is doing.

The first one raises KeyboardInterrupt, so that everything that is open is put away. But some
libraries swallow that while they are imported, and Python needs a second to take a loaded model
apart; so the program then ends without that, and after `PATIENCE` in any case.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

CODE = 130
"""Exit code, by the convention of shells: 128 and the signal's number."""
PATIENCE = 0.5
"""Seconds for putting away what is open."""

happened = threading.Event()
_leaving = threading.Lock()


def listen() -> None:
    """From now on this program, as long as it runs, is interrupted as said above."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        threading.Thread(target=_watch, daemon=True).start()
        signal.signal(signal.SIGINT, _interrupt)


def leave() -> NoReturn:
    """Say that the program was interrupted, and end it at once, with all processes of its own."""
    if not _leaving.acquire(blocking=False):
        time.sleep(PATIENCE)  # the other thread is about to end everything
    shown = b"\x1b[?25h" if os.isatty(2) else b""  # a progress bar hides the cursor
    os.write(2, shown + b"counterflow: interrupted\n")
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.terminate()
    os._exit(CODE)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if happened.is_set():
        leave()
    happened.set()
    raise KeyboardInterrupt


def _watch() -> None:
    happened.wait()
    time.sleep(PATIENCE)
    leave()
