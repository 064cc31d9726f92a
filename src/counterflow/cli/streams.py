"""Pictures by standard input and output, each written as `-`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterflow.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

STANDARD = Path("-")
MOST = 1 << 30
"""Bytes of a picture's file on standard input."""


def piped(image: Path) -> bytes | None:
    """The bytes on standard input, where `image` is `-`; else None."""
    if image != STANDARD:
        return None
    if sys.stdin.isatty():
        raise InputError("- is standard input, but nothing is piped in: give a picture's file")
    data = sys.stdin.buffer.read(MOST + 1)
    if len(data) > MOST:
        raise InputError(f"standard input has more than {MOST} bytes: give a picture's file")
    return data


def check_stream(json: bool) -> None:
    """Refuse, with InputError, a picture on standard output where it cannot go."""
    if json:
        raise InputError(
            "-o - and --json both write to standard output: give -o a file, or leave --json out"
        )
    if sys.stdout.isatty():
        raise InputError("-o - writes a picture, not text: pipe it on, or give -o a file")


@contextmanager
def reporting(output: Path | None) -> Iterator[None]:
    """Inside, what is printed goes to stderr where the picture goes to standard output."""
    if output == STANDARD:
        with redirect_stdout(sys.stderr):
            yield
    else:
        yield


def write(image: Image.Image, output: Path, settings: dict[str, Any], quality: int = 95) -> None:
    """Write a picture with its settings to a file, or as PNG to standard output."""
    from counterflow.carriers import encode
    from counterflow.images import save

    if output != STANDARD:
        save(image, output, settings, quality)
        return
    data = encode(image, "-.png", settings)
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is left in the buffer would be tried again, with a traceback, at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise InputError(f"standard output cannot be written ({error.strerror})") from None
